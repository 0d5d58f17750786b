use super::*;

#[derive(Debug, PartialEq)]
struct Job(usize);

impl Load for Job {
    fn recipients(&self) -> usize {
        self.0
    }
}

fn reason() -> Arc<Reply> {
    Arc::new(Reply::new(421, smtp::Enhanced(4, 4, 1), "no answer"))
}

fn backoff(failures: u32) -> Duration {
    Duration::from_secs(30 * u64::from(failures))
}

#[test]
fn slow_start_gives_two_lanes_then_one_more_a_run() {
    let now = Instant::now();
    let mut it = Destination::new(4);
    let spawned = (0..100)
        .filter(|_| matches!(it.push(Job(1), now), Pushed::Spawn))
        .count();
    assert_eq!(spawned, START);
    let lanes: Vec<usize> = (0..20)
        .map(|_| {
            it.succeeded(now);
            it.lanes.count
        })
        .collect();
    assert_eq!(
        lanes,
        [2, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4]
    );
}

#[test]
fn lanes_do_not_grow_when_nothing_waits() {
    let mut it = Destination::new(20);
    let now = Instant::now();
    it.push(Job(1), now);
    it.take(now).unwrap();
    for _ in 0..100 {
        assert_eq!(it.succeeded(now), Succeeded::default());
    }
    assert_eq!(it.lanes.allowed, START);
}

#[test]
fn a_parked_lane_is_woken_before_another_starts() {
    let now = Instant::now();
    let mut it = Destination::new(20);
    let lane = Arc::new(Notify::new());
    assert!(matches!(it.push(Job(1), now), Pushed::Spawn));
    assert_eq!(it.take_or_park(&lane, now), Some(Job(1)));
    assert_eq!(it.take_or_park(&lane, now), None);
    assert!(matches!(it.push(Job(1), now), Pushed::Wake(woken) if Arc::ptr_eq(&woken, &lane)));
    assert!(matches!(it.push(Job(1), now), Pushed::Spawn));
    it.lanes.unpark(&lane);
    assert!(matches!(it.push(Job(1), now), Pushed::Waits));
}

#[test]
fn a_failure_beside_live_connections_only_lowers_the_number() {
    let now = Instant::now();
    let mut it = Destination::new(20);
    for _ in 0..3 {
        it.push(Job(1), now);
    }
    it.lanes.connected();
    assert!(matches!(it.failed(now, reason(), backoff), Failed::Fewer));
    assert!(!it.is_down(now));
    assert!(!it.lane_ended(now));
    assert_eq!((it.lanes.allowed, it.lanes.count), (1, 1));
}

#[test]
fn a_dead_next_hop_gives_its_jobs_back_and_is_probed_by_one() {
    let start = Instant::now();
    let mut it = Destination::new(20);
    for _ in 0..5 {
        it.push(Job(2), start);
    }
    let first = it.take(Instant::now()).unwrap();
    match it.failed(start, reason(), backoff) {
        Failed::Down {
            first: true,
            retry_in,
            waiting,
        } => {
            assert_eq!((retry_in, waiting.len()), (Duration::from_secs(30), 4));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(it.waiting_recipients(), 0);
    assert!(matches!(it.push(first, start), Pushed::Down(Job(2), _)));
    // The second lane that was connecting fails too: the same failure.
    assert!(matches!(
        it.failed(start, reason(), backoff),
        Failed::Down { first: false, .. }
    ));
    assert!(!it.lane_ended(start) && !it.lane_ended(start));

    let later = start + Duration::from_secs(31);
    assert!(!it.is_down(later));
    assert!(matches!(it.push(Job(1), later), Pushed::Spawn));
    assert!(matches!(it.push(Job(1), later), Pushed::Waits));
    it.take(Instant::now()).unwrap();
    match it.failed(later, reason(), backoff) {
        Failed::Down {
            first: true,
            retry_in,
            waiting,
        } => {
            assert_eq!((retry_in, waiting.len()), (Duration::from_secs(60), 1));
        }
        other => panic!("{other:?}"),
    }
    assert!(!it.lane_ended(later));

    let recovery = later + Duration::from_secs(61);
    assert!(matches!(it.push(Job(1), recovery), Pushed::Spawn));
    it.push(Job(1), recovery);
    it.take(Instant::now()).unwrap();
    assert_eq!(
        it.succeeded(recovery),
        Succeeded {
            recovered: true,
            spawn: true
        }
    );
    assert_eq!(it.failures, 0);
}

#[test]
fn forgets_only_what_is_idle_and_well() {
    let now = Instant::now();
    let mut it = Destination::<Job>::new(2);
    assert!(it.is_forgettable(now));
    it.push(Job(1), now);
    assert!(!it.is_forgettable(now));
    it.take(now);
    it.failed(now, reason(), backoff);
    it.lane_ended(now);
    assert!(!it.is_forgettable(now + Duration::from_secs(31)));
    it.forgive(now + Duration::from_secs(40), Duration::from_secs(60));
    assert!(!it.is_forgettable(now + Duration::from_secs(40)));
    it.forgive(now + Duration::from_secs(91), Duration::from_secs(60));
    assert!(it.is_forgettable(now + Duration::from_secs(91)));
}

#[test]
fn an_ended_lane_is_replaced_while_jobs_wait() {
    let now = Instant::now();
    let mut it = Destination::new(2);
    it.push(Job(1), now);
    it.push(Job(1), now);
    it.push(Job(1), now);
    assert!(it.lane_ended(now));
    it.take_all();
    assert!(!it.lane_ended(now));
    assert!(!it.lane_ended(now));
}

#[test]
fn hangs_when_lanes_end_nothing_not_when_it_waits_for_one() {
    let start = Instant::now();
    let after = Duration::from_secs(10);
    let at = |seconds| start + Duration::from_secs(seconds);
    let hangs = |it: &Destination<Job>, now| it.apart(now, after) == Some(Apart::Hangs);
    let mut it = Destination::new(2);
    assert!(!hangs(&it, at(1000)));
    it.push(Job(3), at(900));
    assert!(!hangs(&it, at(1000)), "it waits for a place");
    it.take(at(1000)).unwrap();
    it.push(Job(1), at(1009));
    assert!(!hangs(&it, at(1009)));
    assert!(hangs(&it, at(1010)));
    it.succeeded(at(1010));
    assert!(!hangs(&it, at(1019)));
    assert!(hangs(&it, at(1020)));
    it.rest(3);
    it.take(at(1021)).unwrap();
    it.rest(1);
    assert!(!hangs(&it, at(5000)));
    it.push(Job(1), at(5000));
    it.take(at(5000)).unwrap();
    assert!(!hangs(&it, at(5009)));
}

#[test]
fn is_probed_after_it_was_down_until_it_answers() {
    let now = Instant::now();
    let mut it = Destination::new(2);
    it.push(Job(1), now);
    it.take(now).unwrap();
    it.failed(now, reason(), backoff);
    it.rest(1);
    let later = now + Duration::from_secs(31);
    it.push(Job(1), later);
    let apart = |it: &Destination<Job>, seconds| {
        it.apart(later + Duration::from_secs(seconds), Duration::from_secs(10))
    };
    assert_eq!((apart(&it, 0), it.is_proven()), (Some(Apart::Probed), false));
    // The probe itself may hang.
    it.take(later).unwrap();
    assert_eq!(apart(&it, 9), Some(Apart::Probed));
    assert_eq!(apart(&it, 10), Some(Apart::Hangs));
    it.succeeded(later);
    assert_eq!((apart(&it, 0), it.is_proven()), (None, true));
}

#[test]
fn sheds_the_newest_beyond_its_share_but_never_the_last() {
    let now = Instant::now();
    let mut it = Destination::new(1);
    for recipients in [10, 4, 3, 2] {
        it.push(Job(recipients), now);
    }
    it.take(now).unwrap();
    assert_eq!(it.shed(15), [Job(2), Job(3)]);
    assert_eq!(it.in_hand(), 14);
    assert_eq!(it.shed(1), [Job(4)]);
    it.rest(10);
    it.push(Job(5), now);
    it.push(Job(6), now);
    assert_eq!(it.shed(1), [Job(6)]);
    assert_eq!((it.waiting_recipients(), it.in_hand()), (5, 5));
}

#[test]
fn it_is_seen_how_a_next_hop_stands() {
    let (mut it, now) = (Destination::new(20), Instant::now());
    it.push(Job(3), now);
    it.push(Job(1), now);
    it.take(now);
    let up = it.standing(now);
    assert_eq!((up.waiting, up.sending, up.allowed, up.cap), (1, 3, START, 20));
    assert!(up.down_until.is_none() && !up.probing && up.last_failure.is_none());
    it.failed(now, reason(), backoff);
    let down = it.standing(now);
    assert_eq!(down.failures, 1);
    assert!(down.down_until.is_some_and(|until| until > now) && !down.probing);
    let (at, why) = down.last_failure.unwrap();
    assert_eq!((at, why), (now, reason()));
    let later = now + Duration::from_secs(86_400);
    assert!(it.standing(later).down_until.is_none() && it.standing(later).probing);
    it.push(Job(1), later);
    it.succeeded(later);
    let back = it.standing(later);
    assert!(!back.probing && back.failures == 0 && back.last_failure.is_some());
}

#[test]
fn lanes_beyond_a_lowered_cap_leave_one_by_one_and_are_not_replaced() {
    let now = Instant::now();
    let mut it = Destination::new(8);
    for _ in 0..100 {
        it.push(Job(1), now);
        it.succeeded(now);
    }
    assert_eq!(it.lanes.count, 8);
    assert!(!it.lanes.must_leave(), "there are not too many");
    assert!(it.lanes.set_cap(5).is_empty(), "none waits for work");
    let leaving = (0..8).filter(|_| it.lanes.must_leave()).count();
    assert_eq!(leaving, 3, "those that were told count as gone already");
    for _ in 0..3 {
        it.lanes.left();
        assert!(!it.lane_ended(now), "though jobs wait");
    }
    assert_eq!((it.lanes.count, it.lanes.must_leave()), (5, false));
    // An ordinary end is made up for.
    assert!(it.lane_ended(now));
    it.lanes.set_cap(8);
    for _ in 0..100 {
        it.succeeded(now);
    }
    assert_eq!(it.lanes.count, 8);
}

#[test]
fn lanes_that_wait_for_work_are_woken_to_leave() {
    let now = Instant::now();
    let mut it = Destination::new(2);
    let lanes = [0, 1].map(|_| Arc::new(Notify::new()));
    it.push(Job(1), now);
    it.push(Job(1), now);
    assert!(it.take(now).is_some() && it.take(now).is_some());
    assert!(lanes.iter().all(|lane| it.take_or_park(lane, now).is_none()));
    assert_eq!(it.lanes.set_cap(1).len(), 2);
    assert!(it.lanes.must_leave() && !it.lanes.must_leave());
}

#[test]
fn a_job_begins_when_a_message_may_go() {
    let now = Instant::now();
    let (second, lane) = (Duration::from_secs(1), Arc::new(Notify::new()));
    let mut it = Destination::new(20);
    it.set_interval(Some(second * 10));
    assert!(matches!(it.push(Job(1), now), Pushed::Spawn));
    assert_eq!(it.take_or_park(&lane, now), Some(Job(1)));
    // Neither is a lane started for the next, nor one woken, nor taken up by one that ends or succeeds.
    assert!(matches!(it.push(Job(2), now), Pushed::Paced));
    assert_eq!(it.take_or_park(&lane, now), None);
    assert!(matches!(it.push(Job(3), now), Pushed::Paced));
    assert!(matches!(it.turn(now), Turn::Wait(wait) if wait == second * 10));
    assert_eq!(it.succeeded(now), Succeeded::default());
    assert!(!it.wants_lane(now) && it.waits_for_rate(now));
    assert!(it.standing(now).waits_for_rate && it.standing(now).rate == Some(0.1));
    let next = now + second * 10;
    assert!(!it.waits_for_rate(next));
    assert!(matches!(it.turn(next), Turn::Wake(woken) if Arc::ptr_eq(&woken, &lane)));
    assert_eq!(it.take_or_park(&lane, next), Some(Job(2)));
    it.lanes.unpark(&lane);
    assert!(!it.lane_ended(next) && it.lane_ended(next + second * 10));
    assert_eq!(it.take(next), None);
    it.not_sent();
    assert_eq!(it.take(next), Some(Job(3)));
    // Without a limit nothing waits.
    it.push(Job(4), next);
    it.set_interval(None);
    assert!(matches!(it.turn(next), Turn::Spawn) && it.take(next).is_some());
}

#[test]
fn only_so_much_is_in_hand_as_may_go_soon() {
    let now = Instant::now();
    let mut it = Destination::new(20);
    it.set_interval(Some(Duration::from_secs(10)));
    for _ in 0..5 {
        it.push(Job(1), now);
    }
    assert!(it.is_ahead_of_rate());
    assert_eq!(it.shed(usize::MAX).len(), 2);
    assert!(it.is_ahead_of_rate());
    it.take(now).unwrap();
    assert!(!it.is_ahead_of_rate() && it.shed(usize::MAX).is_empty());
    assert_eq!(it.turn_in_store(now), Duration::from_secs(40));
}

#[test]
fn what_went_to_a_next_hop_is_not_forgotten_before_its_time() {
    let now = Instant::now();
    let mut it = Destination::new(1);
    it.set_interval(Some(Duration::from_secs(60)));
    it.push(Job(1), now);
    it.take(now).unwrap();
    it.rest(1);
    it.lane_ended(now);
    assert!(!it.is_forgettable(now + Duration::from_secs(59)));
    assert!(it.is_forgettable(now + Duration::from_secs(60)));
}
