//! The container image.

mod image {
    mod build;
    mod content;
    mod lists;
}
