//! What the pages about Kubernetes say is so: paths, links, commands, alerts, metrics and values exist.

mod documents {
    mod pages;
}
