use super::*;

const START: Duration = Duration::from_secs(1000);
const HOME: u128 = 1;

fn settings() -> Auth {
    Auth {
        lock_after: 3,
        lock_for: Duration::from_secs(900),
        max_hashing: 1,
    }
}

/// A guard and the clock that it is asked at.
struct Stage {
    guard: Guard,
    now: Duration,
    /// That share a queue.
    servers: u32,
}

impl Stage {
    fn new() -> Self {
        Stage {
            guard: Guard::new(),
            now: START,
            servers: 1,
        }
    }

    fn fail(&self, name: &str, client: u128) -> Failure {
        let attempt = self.guard.attempt(name, client, false);
        let share = |of_all: u32| of_all.div_ceil(self.servers);
        self.guard.failed(&attempt, &settings(), share, self.now)
    }

    fn succeed(&self, name: &str, client: u128) {
        self.guard
            .succeeded(&self.guard.attempt(name, client, false), self.now);
    }

    fn is_locked(&self, name: &str, client: u128) -> bool {
        self.guard
            .is_locked(&self.guard.attempt(name, client, false), self.now)
    }
}

#[test]
fn a_name_is_locked_where_it_failed_and_nowhere_else() {
    let mut stage = Stage::new();
    let locks: Vec<_> = (0..4).map(|_| stage.fail("ann", HOME).locked).collect();
    assert_eq!(locks, [None, None, Some(LockScope::Pair), None]);
    assert!(stage.is_locked("ann", HOME));
    assert!(!stage.is_locked("ann", 2), "another network");
    assert!(!stage.is_locked("bob", HOME), "another name");
    stage.now += Duration::from_secs(900);
    assert!(!stage.is_locked("ann", HOME));
}

#[test]
fn answers_come_later_with_each_failure_up_to_a_limit() {
    let stage = Stage::new();
    let waits: Vec<u64> = (0..6).map(|_| stage.fail("ann", HOME).late.as_secs()).collect();
    assert_eq!(
        waits,
        [1, 2, 4, 4, 4, 4],
        "three failures are the most that is counted"
    );
    assert_eq!(wait_after(u32::MAX).as_secs(), 8);
}

#[test]
fn a_network_that_tries_many_names_is_locked_for_names_it_never_was() {
    let stage = Stage::new();
    stage.succeed("ann", HOME);
    let locks: Vec<_> = (0..15)
        .filter_map(|n| stage.fail(&format!("name{n}"), HOME).locked)
        .collect();
    assert_eq!(locks, [LockScope::Network]);
    assert!(stage.is_locked("bob", HOME));
    assert!(
        !stage.is_locked("ann", HOME),
        "who logged in from here before may do so again"
    );
    assert!(!stage.is_locked("bob", 2));
}

#[test]
fn an_exempt_network_has_no_count_of_its_own() {
    let stage = Stage::new();
    for n in 0..100 {
        let attempt = stage.guard.attempt(&format!("name{n}"), HOME, true);
        assert_eq!(
            stage
                .guard
                .failed(&attempt, &settings(), |all| all, stage.now)
                .locked,
            None
        );
    }
    assert!(!stage.is_locked("bob", HOME));
}

#[test]
fn a_name_that_fails_everywhere_is_locked_but_where_it_is_known() {
    let stage = Stage::new();
    stage.succeed("ann", HOME);
    let locks: Vec<_> = (100..130).filter_map(|n| stage.fail("ann", n).locked).collect();
    assert_eq!(locks, [LockScope::Account]);
    assert!(stage.is_locked("ann", 500), "a network that is new");
    assert!(!stage.is_locked("ann", HOME), "where it logged in before");
    assert!(!stage.is_locked("bob", 500));
    for _ in 0..3 {
        stage.fail("ann", HOME);
    }
    assert!(stage.is_locked("ann", HOME), "being known is no leave to guess");
}

#[test]
fn nobody_is_locked_out_for_ever() {
    let mut stage = Stage::new();
    let mut open = 0;
    for _ in 0..3600 {
        stage.now += Duration::from_secs(1);
        stage.fail("ann", HOME);
        open += u32::from(!stage.is_locked("ann", HOME));
    }
    assert!(open >= 4, "between two locks there is a moment: {open}");
}

#[test]
fn a_success_forgives_slips_of_the_same_name_only() {
    let stage = Stage::new();
    for _ in 0..2 {
        stage.fail("ann", HOME);
    }
    for _ in 0..2 {
        stage.fail("bob", HOME);
    }
    stage.succeed("ann", HOME);
    assert_eq!(stage.fail("ann", HOME).locked, None);
    assert_eq!(
        stage.fail("bob", HOME).locked,
        Some(LockScope::Pair),
        "an account of his own wipes no guesser's count"
    );
}

#[test]
fn one_network_cannot_lock_an_account_everywhere() {
    let stage = Stage::new();
    let locks: Vec<_> = (0..1000).filter_map(|_| stage.fail("ann", HOME).locked).collect();
    assert_eq!(locks, [LockScope::Pair]);
    assert!(!stage.is_locked("ann", 500) && !stage.is_locked("bob", HOME));
}

#[test]
fn the_latest_networks_of_an_account_are_known() {
    let stage = Stage::new();
    (0..20).for_each(|network| stage.succeed("ann", network));
    for network in 100..130 {
        stage.fail("ann", network);
    }
    let known: Vec<u128> = (0..20)
        .filter(|network| !stage.is_locked("ann", *network))
        .collect();
    assert_eq!(known, (12..20).collect::<Vec<_>>());
}

#[test]
fn of_a_names_failures_each_of_many_servers_bears_its_share() {
    // Thirty in all, each from another network, and no fewer than ten at one server.
    for (servers, failures) in [(1, 30), (2, 20), (3, 10), (5, 10), (18, 10)] {
        let mut stage = Stage::new();
        stage.servers = servers;
        let locked = (1..=40).find(|n| stage.fail("ann", n * 100).locked == Some(LockScope::Account));
        assert_eq!(locked, Some(failures), "{servers} servers");
        assert!(stage.is_locked("ann", HOME));
        // What is about one network is not less.
        let locks: Vec<_> = (0..3).map(|_| stage.fail("bob", HOME).locked).collect();
        assert_eq!(locks, [None, None, Some(LockScope::Pair)]);
    }
}

/// Has networks, one after the other and each so many times, fail with a name every so many seconds, for two hours. Gives how many guesses were
/// looked at and whether the name was ever locked.
fn besieged(servers: u32, networks: u128, times: u32, every: u64) -> (u32, bool) {
    let mut stage = Stage::new();
    stage.servers = servers;
    let (mut guesses, mut was_locked) = (0, false);
    for _ in 0..7200 / every {
        stage.now += Duration::from_secs(every);
        for network in (1..=networks).flat_map(|network| (0..times).map(move |_| network * 100)) {
            guesses += u32::from(!stage.is_locked("ann", network));
            was_locked |= stage.fail("ann", network).locked == Some(LockScope::Account);
        }
    }
    (guesses, was_locked)
}

#[test]
fn fewer_than_ten_networks_never_lock_a_name_however_many_servers_there_are() {
    for servers in [1, 2, 3, 5, 18] {
        // At once, as slowly as failures are forgotten, and in between.
        for every in [1, 60, 100, 150, 299, 300, 301, 450, 899] {
            for times in [1, 2, 5] {
                let (_, was_locked) = besieged(servers, 9, times, every);
                assert!(!was_locked, "{servers} servers, {times} times every {every} s");
            }
        }
        assert!(besieged(servers, 10, 1, 1).1, "{servers} servers");
    }
}

#[test]
fn guesses_at_a_name_are_bounded_from_wherever_they_come() {
    // In 900 s, and there are eight times as many: all that nine networks have, and what is missing.
    for (servers, most) in [(1, 9 * 3 + 3), (2, 9 * 3 + 2), (3, 9 * 3 + 1), (18, 9 * 3 + 1)] {
        for networks in [10, 30, 1000] {
            let (guesses, _) = besieged(servers, networks, 3, 1);
            assert_eq!(guesses, 8 * most, "{servers} servers, {networks} networks");
        }
        let (guesses, _) = besieged(servers, 1000, 1, 1);
        assert_eq!(guesses, 8 * 10 * 3_u32.div_ceil(servers), "{servers} servers");
    }
}
