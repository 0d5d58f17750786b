//! Log lines: JSON or text, written by a thread of their own.
