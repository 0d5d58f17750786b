//! A small kubelet: it takes a pod as it was rendered, and does with it what a node would.
//!
//! A [`Node`] is a bridge with an address, a place for images and volumes, and a name server. A [`Pod`] is a
//! container of podman and runc in a network namespace of its own on that bridge, with the volumes, the security
//! context and the limits that its template says; its probes are asked from the node, its container is started
//! again when it ends (unless it is a Job's), and its end is preStop, SIGTERM, grace and SIGKILL. What happened when is in its timeline. A pod with
//! a token of its own can ask the API server, which judges it by the rendered Roles ([`Node::serve`]).
//!
//! What a template asks for and this kubelet does not play is a panic, never passed over (`spec`).

mod alone;
mod api;
mod container;
mod group;
mod identity;
mod job;
mod network;
mod node;
mod operator;
mod pod;
mod probe;
mod spec;
mod supervisor;
mod timeline;
mod volumes;

pub use alone::{Ran, RanContainer};
pub use api::Asked;
pub use container::TOKENS;
pub use job::{Done, JobPod};
pub use node::Node;
pub use pod::{Ended, Pod};
pub use timeline::{Happened, Timeline};
pub use volumes::contents;
