//! Characters to words, numbers and quoted text.

use crate::error::{Error, Result};

/// A place in a text.
pub struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

/// True for names that need no quotes.
pub fn is_plain(name: &str) -> bool {
    name != "_" && name.starts_with(is_name_start) && name.chars().all(is_name_part)
}

/// The name, in quotes if it needs them.
pub fn quoted(name: &str) -> String {
    if is_plain(name) {
        name.to_owned()
    } else {
        format!("{name:?}")
    }
}

fn is_name_start(c: char) -> bool {
    c.is_ascii_alphabetic() || matches!(c, '_' | '/')
}

fn is_name_part(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '/' | '.' | '-')
}

fn is_symbol_part(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

impl<'a> Cursor<'a> {
    pub fn new(text: &'a str) -> Cursor<'a> {
        Cursor { text, at: 0 }
    }

    pub fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    pub fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// An error at this place.
    pub fn error(&self, why: impl Into<String>) -> Error {
        let before = &self.text[..self.at];
        let line = before.matches('\n').count() + 1;
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before[line_start..].chars().count() + 1;
        Error::parse(format!("line {line}:{column}"), why.into())
    }

    fn expected(&self, what: &str) -> Error {
        match self.peek() {
            None => self.error(format!("{what} is expected and the text ends")),
            Some('\n') => self.error(format!("{what} is expected and the line ends")),
            Some(found) => self.error(format!("{what} is expected, {found:?} is found")),
        }
    }

    /// Skips blanks and a comment, not the end of the line.
    pub fn skip_blanks(&mut self) {
        let rest = self.rest().trim_start_matches([' ', '\t', '\r']);
        let comment = if rest.starts_with('#') {
            rest.find('\n').unwrap_or(rest.len())
        } else {
            0
        };
        self.at = self.text.len() - rest.len() + comment;
    }

    /// Skips blanks, comments and line ends.
    pub fn skip_lines(&mut self) {
        self.skip_blanks();
        while self.peek() == Some('\n') {
            self.at += 1;
            self.skip_blanks();
        }
    }

    /// Takes `token` if it stands here.
    pub fn take(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    /// # Errors
    /// When `token` does not stand here.
    pub fn expect(&mut self, token: &str) -> Result<()> {
        if self.take(token) {
            return Ok(());
        }
        Err(self.expected(&format!("{token:?}")))
    }

    fn take_while(&mut self, is_part: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    /// The word that stands here, without taking it; empty when there is none.
    pub fn peek_word(&self) -> &'a str {
        let rest = self.rest();
        if !rest.starts_with(is_name_start) {
            return "";
        }
        &rest[..rest.find(|c| !is_name_part(c)).unwrap_or(rest.len())]
    }

    /// A name, plain or in quotes.
    pub fn name(&mut self) -> Result<String> {
        match self.peek() {
            Some('"') => self.string(),
            Some(c) if is_name_start(c) => Ok(self.take_while(is_name_part).to_owned()),
            _ => Err(self.expected("a name")),
        }
    }

    /// A name of a dimension, which has fewer characters than others: `n-1` is a difference.
    pub fn symbol(&mut self) -> Result<String> {
        match self.peek() {
            Some('"') => self.string(),
            Some(c) if is_symbol_part(c) => Ok(self.take_while(is_symbol_part).to_owned()),
            _ => Err(self.expected("a dimension")),
        }
    }

    /// The characters of a number, or of `inf`, `nan`, `true`, `false`.
    pub fn number(&mut self) -> Result<&'a str> {
        let rest = self.rest();
        let mut previous = ' ';
        let end = rest.find(|c: char| {
            let is_sign = matches!(c, '-' | '+') && matches!(previous, ' ' | 'e' | 'E');
            let is_part = is_sign || c == '.' || c.is_ascii_alphanumeric();
            previous = c;
            !is_part
        });
        let token = &rest[..end.unwrap_or(rest.len())];
        if token.is_empty() {
            return Err(self.expected("a number"));
        }
        self.at += token.len();
        Ok(token)
    }

    /// Bytes as `0x` and two digits each.
    pub fn hex(&mut self) -> Result<Vec<u8>> {
        self.expect("0x")?;
        let rest = self.rest().as_bytes();
        let end = rest
            .iter()
            .position(|byte| !byte.is_ascii_hexdigit())
            .unwrap_or(rest.len());
        let digits = &rest[..end];
        self.at += end;
        if !digits.len().is_multiple_of(2) {
            return Err(self.error("hex has two digits for each byte"));
        }
        let digit = |c: u8| match c {
            b'0'..=b'9' => c - b'0',
            _ => (c | 0x20) - b'a' + 10,
        };
        Ok(digits
            .chunks_exact(2)
            .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
            .collect())
    }

    /// Text in quotes, with the escapes of Rust's `{:?}`.
    pub fn string(&mut self) -> Result<String> {
        self.expect("\"")?;
        let mut text = String::new();
        loop {
            text.push_str(self.take_while(|c| !matches!(c, '"' | '\\' | '\n')));
            if self.take("\"") {
                return Ok(text);
            }
            if !self.take("\\") {
                return Err(self.expected("a closing quote"));
            }
            let escape = self.peek().ok_or_else(|| self.expected("an escape"))?;
            self.at += escape.len_utf8();
            text.push(match escape {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                '0' => '\0',
                '"' | '\'' | '\\' => escape,
                'u' => self.unicode_escape()?,
                _ => return Err(self.error(format!("there is no escape \\{escape}"))),
            });
        }
    }

    fn unicode_escape(&mut self) -> Result<char> {
        self.expect("{")?;
        let digits = self.take_while(|c| c.is_ascii_hexdigit());
        let code = u32::from_str_radix(digits, 16)
            .ok()
            .and_then(char::from_u32);
        let code = code.ok_or_else(|| self.error("there is no such character"))?;
        self.expect("}")?;
        Ok(code)
    }

    /// Items between brackets, with commas between them, perhaps over several lines.
    pub fn list<T>(
        &mut self,
        open: &str,
        close: &str,
        mut item: impl FnMut(&mut Cursor<'a>) -> Result<T>,
    ) -> Result<Vec<T>> {
        self.expect(open)?;
        let mut items = Vec::new();
        loop {
            self.skip_lines();
            if self.take(close) {
                return Ok(items);
            }
            if !items.is_empty() {
                self.expect(",")?;
                self.skip_lines();
            }
            items.push(item(self)?);
        }
    }
}
