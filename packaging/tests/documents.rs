//! What pages say is so: links and files exist, and in those about Kubernetes paths, commands, alerts, metrics and values.

mod documents {
    mod architecture;
    mod at_night;
    mod cluster;
    mod commands;
    mod helm;
    mod in_order;
    mod kubectl;
    mod links;
    mod options;
    mod pages;
    mod promised;
    mod shell;
    mod shown;
    mod tree;
}
