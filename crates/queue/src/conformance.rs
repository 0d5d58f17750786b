//! One suite that any store must pass.
