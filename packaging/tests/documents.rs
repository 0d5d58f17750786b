//! What pages say is so: links and files exist, and in those about Kubernetes paths, commands, alerts, metrics and values.

mod documents {
    mod architecture;
    mod links;
    mod pages;
    mod shown;
    mod tree;
}
