use super::*;

const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const ID: [u8; 16] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];

fn all(reader: &mut mpsc::Receiver<FinishedSpan>) -> Vec<FinishedSpan> {
    std::iter::from_fn(|| reader.try_recv().ok()).collect()
}

#[test]
fn a_traceparent_is_read_and_written() {
    let context = TraceContext::parse(GIVEN).unwrap();
    assert_eq!(context.to_string(), GIVEN);
    assert_eq!(context.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert!(context.sampled);
    assert!(!TraceContext::parse(&GIVEN.replace("-01", "-00")).unwrap().sampled);
    // A later version may say more.
    assert_eq!(
        TraceContext::parse(&format!("01{}-more", &GIVEN[2..])),
        Some(context)
    );
}

#[test]
fn what_is_no_traceparent_is_none() {
    for text in [
        "",
        "00",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-01",
    ] {
        assert_eq!(TraceContext::parse(text), None, "{text}");
    }
}

#[test]
fn nothing_is_recorded_while_it_is_off() {
    let tracer = Tracer::default();
    let mut reader = tracer.reader().unwrap();
    assert!(tracer.reader().is_none());
    let mut span = tracer.begin("session", SpanKind::Server);
    span.becomes_message(ID, None);
    assert!(!span.is_recorded() && !span.child("commit", SpanKind::Internal).is_recorded());
    drop(span);
    drop(tracer.of_message(ID, TraceContext::parse(GIVEN), "attempt", SpanKind::Client));
    assert!(all(&mut reader).is_empty());
}

#[test]
fn a_message_is_a_trace_that_its_attempts_find_again() {
    let tracer = Tracer::default();
    let mut reader = tracer.reader().unwrap();
    tracer.set(Some(1.0));
    let session = tracer.begin("session", SpanKind::Server);
    let mut mail = session.child("mail", SpanKind::Server);
    mail.becomes_message(ID, None);
    drop(mail.child("commit", SpanKind::Internal));
    drop(mail);
    drop(session);
    drop(tracer.of_message(ID, None, "attempt", SpanKind::Client));
    let [commit, mail, session, attempt] = &all(&mut reader)[..] else {
        panic!("four spans are expected");
    };
    assert!(
        [commit, mail, attempt]
            .iter()
            .all(|span| span.context.trace == ID)
    );
    assert_eq!(mail.context.span, [9, 10, 11, 12, 13, 14, 15, 16]);
    assert_eq!(
        (mail.parent, commit.parent, attempt.parent),
        (None, Some(mail.context.span), Some(mail.context.span))
    );
    assert_ne!(session.context.trace, ID);
    assert_eq!(mail.link, Some(session.context));
}

#[test]
fn an_application_decides_about_its_mail() {
    let tracer = Tracer::default();
    let mut reader = tracer.reader().unwrap();
    tracer.set(Some(0.0));
    let given = TraceContext::parse(GIVEN).unwrap();
    let mut session = tracer.begin("session", SpanKind::Server);
    let mut mail = session.child("mail", SpanKind::Server);
    mail.becomes_message(ID, Some(given));
    session.goes_with(&mail);
    drop(mail);
    drop(session);
    drop(tracer.of_message(ID, Some(given), "attempt", SpanKind::Client));
    drop(tracer.of_message(ID, None, "attempt", SpanKind::Client));
    let spans = all(&mut reader);
    assert_eq!(
        spans.iter().map(|span| span.name).collect::<Vec<_>>(),
        ["mail", "session", "attempt"]
    );
    assert_eq!(
        (spans[0].context.trace, spans[0].parent),
        (given.trace, Some(given.span))
    );
    assert_eq!(spans[2].context.trace, given.trace);
    tracer.set(Some(1.0));
    let not_sampled = TraceContext {
        sampled: false,
        ..given
    };
    drop(tracer.of_message(ID, Some(not_sampled), "attempt", SpanKind::Client));
    assert!(all(&mut reader).is_empty());
}

#[test]
fn a_part_is_kept_also_of_ids_that_follow_each_other() {
    let tracer = Tracer::default();
    tracer.set(Some(0.25));
    let first = u128::from_be_bytes(ID);
    let kept = (0..10_000u128).filter(|n| tracer.samples((first + n).to_be_bytes()));
    let kept = kept.count();
    assert!((2000..3000).contains(&kept), "{kept}");
}

#[test]
fn spans_that_nobody_reads_are_dropped_and_counted() {
    let tracer = Tracer::default();
    let mut reader = tracer.reader().unwrap();
    tracer.set(Some(1.0));
    for _ in 0..WAITING + 3 {
        drop(tracer.begin("session", SpanKind::Server));
    }
    assert_eq!((tracer.lost(), tracer.lost()), (3, 0));
    assert_eq!(all(&mut reader).len(), WAITING);
}
