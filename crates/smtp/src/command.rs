//! Commands of a client, parsed from one line (RFC 5321 4.1.1).
