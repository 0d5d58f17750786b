//! The drain, and sessions that end badly.

use super::*;

#[tokio::test]
async fn a_drain_ends_idle_sessions_and_lets_mails_finish() {
    let stage = Arc::new(Stage::start(config()));
    let mut idle = stage.greeted().await;
    let mut busy = stage.greeted().await;
    busy.begin_data().await;
    let draining = tokio::spawn({
        let stage = stage.clone();
        async move { stage.reception.drain(PATIENCE).await }
    });
    idle.expect("421 4.3.2").await;
    idle.expect_end().await;
    let mut late = stage.connect().await;
    late.expect("421 4.3.2").await;
    late.expect_end().await;
    assert!(!draining.is_finished());
    busy.say("Subject: x\r\n\r\nx\r\n.", "250 2.0.0").await;
    busy.expect("421 4.3.2").await;
    busy.expect_end().await;
    timeout(PATIENCE, draining)
        .await
        .expect("drained in time")
        .unwrap();
    assert_eq!(stage.reception.connections(), 0);
    assert_eq!(stage.messages().await.len(), 1);
    let refused = TcpStream::connect(stage.reception.addresses(Listener::Smtp)[0]).await;
    assert!(refused.is_err(), "the listener is closed");
}

#[tokio::test]
async fn a_drain_ends_at_its_limit() {
    let stage = Stage::start(config());
    let mut stuck = stage.greeted().await;
    stuck.begin_data().await;
    stuck.send(b"Subject: never ended\r\n").await;
    timeout(PATIENCE, stage.reception.drain(Duration::from_millis(100)))
        .await
        .expect("in time");
    stuck.expect("421 4.3.2").await;
    assert_eq!(stage.reception.connections(), 0);
    assert!(stage.messages().await.is_empty());
}

#[tokio::test]
async fn a_panic_gives_its_slot_back() {
    let stage = Stage::start(config());
    let shared = stage.reception.shared.clone();
    let mut config = config();
    config.server.max_connections = 1;
    let peer: SocketAddr = "192.0.2.1:25".parse().unwrap();
    let mut slot = shared.take_slot(&config).unwrap();
    slot.belongs_to(&config, peer.ip()).unwrap();
    assert!(shared.take_slot(&config).is_err());
    let policy = shared.policy();
    let visit = visit::Visit::new(
        shared.clone(),
        policy,
        Listener::Smtp,
        slot,
        visit::Arrival { peer, proxy: None },
    );
    assert_eq!(shared.observer.active_connections(), 1);
    let session = tokio::spawn(async move {
        let _visit = visit;
        panic!("as a bug would");
    });
    assert!(session.await.is_err());
    assert_eq!(shared.open_connections(), 0);
    assert_eq!(shared.observer.active_connections(), 0);
    stage.greeted().await;
}

#[tokio::test]
async fn before_its_start_reception_is_alive_and_can_be_drained() {
    let stage = Stage::open(config());
    assert_eq!(stage.reception.alive(), Ok(()));
    timeout(PATIENCE, stage.reception.drain(PATIENCE))
        .await
        .expect("at once");
}
