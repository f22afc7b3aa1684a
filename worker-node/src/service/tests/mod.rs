//! Models of a repository on disk, through the whole service.

mod folder;
mod models;
