//! The rendered pods run: what `k8s/overlays` makes, in containers, by the rules of a kubelet.

mod pods {
    mod embedded;
    mod faults;
    mod life;
    mod postgresql;
    mod second;
    mod stage;
}
