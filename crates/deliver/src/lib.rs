//! When and where a message goes next: schedule, routes, MX, connections, Maildir, bounces.
