//! Three pods of the server before one PostgreSQL, under load behind a Service, while they are replaced one by one, and while
//! one is killed; a real Prometheus looks on.

mod rolling {
    mod deployment;
    mod load;
    mod prometheus;
    mod replaced;
    mod scene;
}
