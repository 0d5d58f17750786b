//! The rendered pods run: what `k8s/overlays` makes, in containers, by the rules of a kubelet.

mod pods {
    mod around;
    mod dev;
    mod edge;
    mod embedded;
    mod faults;
    mod job;
    mod kubelet;
    mod life;
    mod postgresql;
    mod properties;
    mod proxy;
    mod release;
    mod scale_aware;
    mod second;
    mod smarthost;
    mod stage;
}
