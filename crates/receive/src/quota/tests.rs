use super::*;
use QuotaKind::{Messages, Recipients};

fn quotas(texts: &[&str]) -> Vec<Quota> {
    texts.iter().map(|text| Quota::parse(text).unwrap()).collect()
}

/// One server has all of it.
fn all(amount: u32) -> u32 {
    amount
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Takes and keeps; gives the seconds to wait.
fn take(book: &Arc<Quotas>, quotas: &[Quota], seconds: u64) -> Option<u64> {
    match book.take_at("ann", quotas, Messages, all, at(seconds)) {
        Ok(taken) => {
            taken.unwrap().keep();
            None
        }
        Err(used_up) => Some(used_up.wait.as_secs()),
    }
}

#[test]
fn so_many_and_no_more_until_the_first_is_old_enough() {
    let (book, hourly) = (Quotas::new(), quotas(&["3/hour"]));
    for seconds in [0, 600, 1200] {
        assert_eq!(take(&book, &hourly, seconds), None);
    }
    assert_eq!(take(&book, &hourly, 1210), Some(3660 - 1210));
    assert_eq!(take(&book, &hourly, 3659), Some(1));
    assert_eq!(
        take(&book, &hourly, 3660),
        None,
        "who waits as long as told gets in"
    );
    assert_eq!(take(&book, &hourly, 3660), Some(600));
}

#[test]
fn in_no_period_more_than_the_amount() {
    let (book, minutely) = (Quotas::new(), quotas(&["5/minute"]));
    let mut taken = Vec::new();
    for tenth in 0..6000u64 {
        let now = Duration::from_millis(tenth * 100);
        if let Ok(some) = book.take_at("ann", &minutely, Messages, all, now) {
            some.unwrap().keep();
            taken.push(now);
        }
    }
    assert!(taken.len() >= 45, "{}", taken.len());
    assert!(taken.windows(6).all(|six| six[5] - six[0] > at(60)), "{taken:?}");
}

#[test]
fn every_quota_counts_and_the_longest_wait_is_told() {
    let (book, both) = (Quotas::new(), quotas(&["1/minute", "2/day", "9/day"]));
    assert_eq!(take(&book, &both, 0), None);
    assert_eq!(take(&book, &both, 1), Some(60));
    assert_eq!(take(&book, &both, 61), None);
    assert_eq!(take(&book, &both, 62), Some(86_400 + 1440 - 62));
}

#[test]
fn what_is_dropped_is_given_back() {
    let (book, hourly) = (Quotas::new(), quotas(&["1/hour"]));
    let taken = book.take_at("ann", &hourly, Messages, all, at(5)).unwrap();
    assert!(take(&book, &hourly, 6).is_some());
    drop(taken);
    assert_eq!(take(&book, &hourly, 7), None);
    assert!(take(&book, &hourly, 8).is_some());
}

#[test]
fn kinds_and_accounts_are_counted_apart() {
    let (book, both) = (Quotas::new(), quotas(&["1/hour", "recipients:2/hour"]));
    assert_eq!(take(&book, &both, 0), None);
    for _ in 0..2 {
        book.take_at("ann", &both, Recipients, all, at(0))
            .unwrap()
            .unwrap()
            .keep();
    }
    let used_up = book.take_at("ann", &both, Recipients, all, at(0)).unwrap_err();
    assert_eq!(used_up.quota, both[1]);
    assert!(
        book.take_at("bob", &both, Messages, all, at(0))
            .unwrap()
            .is_some()
    );
    assert!(book.take_at("bob", &[], Messages, all, at(0)).unwrap().is_none());
}

#[test]
fn memory_is_that_of_a_days_accounts() {
    let (book, daily) = (Quotas::new(), quotas(&["1000/day"]));
    for n in 0..5000 {
        let taken = book.take_at(&format!("account{n}"), &daily, Messages, all, at(0));
        taken.unwrap().unwrap().keep();
    }
    for minute in 0..3000u64 {
        let _ = take(&book, &daily, 200_000 + minute * 60);
    }
    for n in 0..5000 {
        drop(book.take_at(&format!("later{n}"), &daily, Messages, all, at(400_000)));
    }
    let usage = book.usage.lock();
    assert!(usage.accounts.len() <= 8192, "{}", usage.accounts.len());
    assert!(!usage.accounts.contains_key("account7"));
    let ann = &usage.accounts["ann"][&(Messages, QuotaPeriod::Day)];
    assert!(ann.steps.len() <= STEPS as usize + 1, "{}", ann.steps.len());
}
