//! What data movement moves at once: elements, whole words of packed ones, or vectors of four.

use super::{Capabilities, Kernel, Launch, Map, Port, Storage, grid, map};

/// The widest piece that whole runs of elements are made of. Values are not looked at, so that
/// four packed elements may pass as one word.
///
/// Texts get `alias unit`, the type that `load_` and `store_` move; packed elements that do not
/// fill words are loaded one by one and stored as [`Map`] does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unit {
    storage: Storage,
    vec4: bool,
    /// How many elements are one unit.
    pub n_elems: usize,
}

impl Unit {
    /// Such that each of these numbers of elements is whole units: the lengths of all runs, and
    /// where they begin.
    pub fn of(storage: Storage, runs: &[usize]) -> Unit {
        let fits = |n_elems: usize| runs.iter().all(|run| run.is_multiple_of(n_elems));
        let (storage, per_word) = if storage.is_packed() && fits(4) {
            (Storage::U32, 4)
        } else {
            (storage, 1)
        };
        let vec4 = !storage.is_packed() && fits(4 * per_word);
        Unit {
            storage,
            vec4,
            n_elems: if vec4 { 4 * per_word } else { per_word },
        }
    }

    /// For all of a tensor: its buffer has whole vectors of four words.
    pub fn of_whole(storage: Storage) -> Unit {
        Unit::of(storage, &[16])
    }

    /// True where one unit is a part of a word.
    pub fn is_packed(self) -> bool {
        self.storage.is_packed()
    }

    pub fn read(self, kernel: Kernel, name: &str, port: Port) -> Kernel {
        let port = self.port(port);
        if self.vec4 {
            kernel.read_vec4(name, port)
        } else {
            kernel.read(name, port)
        }
    }

    /// Binds what is written, named `y`.
    pub fn write(self, kernel: Kernel, y: Port) -> Kernel {
        let (kernel, alias) = if self.vec4 {
            (kernel.write_vec4("y", self.port(y)), "vec4<y_value>")
        } else {
            (kernel.write("y", self.port(y)), "y_value")
        };
        kernel.snippet(&format!("alias unit = {alias};"))
    }

    /// Launches `fn element(i: u32) -> unit` over all of `y`, which has `n_elems` elements.
    pub fn map(self, kernel: Kernel, y: Port, n_elems: usize, caps: &Capabilities) -> Launch {
        if self.is_packed() {
            let kernel = kernel.snippet("alias unit = y_value;");
            return Map::launch(kernel, y, n_elems, caps);
        }
        let n_units = n_elems.div_ceil(self.n_elems);
        self.write(kernel.param("n_elems", n_units), y)
            .snippet(include_str!("../wgsl/map.wgsl"))
            .launch(grid(n_units.div_ceil(map::WORKGROUP), caps))
    }

    fn port(self, port: Port) -> Port {
        Port {
            storage: self.storage,
            ..port
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_elements_move_as_words_where_they_fill_them() {
        let n_elems = |storage, run| Unit::of(storage, &[run, 16]).n_elems;
        assert_eq!(
            [1, 2, 4, 8, 16].map(|n| n_elems(Storage::U8, n)),
            [1, 1, 4, 4, 16]
        );
        assert_eq!(
            [1, 2, 4, 8, 16].map(|n| n_elems(Storage::F16, n)),
            [1, 1, 4, 4, 4]
        );
    }
}
