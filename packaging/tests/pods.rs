//! The rendered pods run: what `k8s/overlays` makes, in containers, by the rules of a kubelet.

mod pods {
    mod dev;
    mod embedded;
    mod faults;
    mod job;
    mod life;
    mod postgresql;
    mod properties;
    mod scale_aware;
    mod second;
    mod stage;
}
