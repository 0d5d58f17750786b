//! Listeners, limits and the relay rule: runs a server session and hands each message to the queue.
