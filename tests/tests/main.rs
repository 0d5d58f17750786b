//! The black-box tests, one binary. Each module is one subject.
