//! A database that is away is not stormed: who connects in vain pauses, longer each time and not in step with others, and begins anew once it worked.

use crate::postgres::Database;
use futures_util::future::join_all;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Servers that lost the same database.
const SERVERS: usize = 16;
/// What the pauses between the first attempts grow to, in milliseconds.
const PAUSES: [u64; 5] = [50, 100, 200, 400, 800];
/// The attempt that succeeds, after those pauses; and how many there are.
const GREETED: usize = PAUSES.len();
const ATTEMPTS: usize = GREETED + 3;

/// Greets as a database does that trusts everybody.
async fn greet(mut stream: TcpStream) {
    let length = stream.read_u32().await.unwrap();
    let mut startup = vec![0; length as usize - 4];
    stream.read_exact(&mut startup).await.unwrap();
    // AuthenticationOk, ReadyForQuery.
    stream
        .write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I")
        .await
        .unwrap();
}

/// Takes connections and hangs up, but for one that it greets before; gives the time from each to the next.
async fn refuse(listener: TcpListener) -> Vec<Duration> {
    let mut called: Vec<Instant> = Vec::new();
    while called.len() < ATTEMPTS {
        let (stream, _) = listener.accept().await.unwrap();
        called.push(Instant::now());
        if called.len() - 1 == GREETED {
            greet(stream).await;
        }
    }
    called.windows(2).map(|two| two[1] - two[0]).collect()
}

/// A server that wants a connection all the time; gives the time from each attempt of it to the next.
async fn times_between_attempts() -> Vec<Duration> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let database = Database {
        url: format!("postgresql://postgres@127.0.0.1:{port}/queue?sslmode=disable"),
        password_file: None,
        pool_size: 6,
        pooler: false,
    };
    let link = database.link().unwrap();
    let wanting = async {
        loop {
            // What it gets it gives back at once.
            drop(link.client().await);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        times = refuse(listener) => times,
        () = wanting => unreachable!(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_connects_in_vain_pauses_longer_each_time_and_not_in_step_with_others() {
    let servers = join_all((0..SERVERS).map(|_| times_between_attempts()));
    let servers = tokio::time::timeout(Duration::from_secs(60), servers)
        .await
        .expect("attempts that go on");
    let of =
        |attempt: usize| -> Vec<u128> { servers.iter().map(|times| times[attempt].as_millis()).collect() };
    for (attempt, pause) in PAUSES.into_iter().enumerate() {
        let shortest = of(attempt).into_iter().min().unwrap();
        assert!(
            shortest >= u128::from(pause / 2),
            "{shortest} ms after the attempt {attempt}"
        );
    }
    let last = of(GREETED - 1);
    let spread = last.iter().max().unwrap() - last.iter().min().unwrap();
    assert!(spread >= 100, "all pause alike: {last:?}");
    // The next attempt was at once, as the connection broke that it had. After that one it begins anew: it would be 800 ms and more.
    let anew = of(GREETED + 1);
    assert!(anew.iter().any(|pause| *pause < 400), "{anew:?}");
}
