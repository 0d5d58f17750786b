//! The Job that moves a claim's queue to PostgreSQL, `k8s/jobs/migrate-queue.yaml`, between the two modes: docs/kubernetes.md, "From embedded to
//! PostgreSQL".

use super::stage::{Mode, Stage, give, retry, subjects};
use blackbox::postgres::{Held, Postgres};
use blackbox::tools::{run, swaks};
use blackbox::wire::Wire;
use blackbox::{wait_for, wait_for_secs};
use packaging::kubelet::Pod;
use packaging::render;
use serde_json::{Value, json};

const JOB: &str = "smtp-server-migrate-0";
const MESSAGES: usize = 500;
const ACCOUNTS: usize = 8;
/// Of the role `smtp`, as the Secret has it.
const KEY: &str = "of the database alone";

/// What is applied one after the other: the StatefulSet and its objects, the Job, the Deployment.
fn objects() -> Vec<Value> {
    let mut all = Mode::Embedded.objects();
    all.push(render::file("k8s/jobs/migrate-queue.yaml").remove(0));
    let deployment = Mode::Postgresql.objects();
    all.push(render::find(&deployment, "Deployment", "smtp-server").clone());
    all
}

/// A database that lets nobody in without a password, whose owner the servers are.
fn database() -> Postgres {
    let database = Postgres::start();
    database.sql(&format!("CREATE ROLE smtp LOGIN PASSWORD '{KEY}'"));
    database.sql(&format!("ALTER DATABASE {} OWNER TO smtp", database.name));
    database.rules(
        "local all all trust\nhost all smtp 127.0.0.0/8 scram-sha-256\n",
        "",
    );
    database
}

/// What an operator edits in the Job: where the database is. And the Secret has its password, by itself and in the URL.
fn edit(stage: &Stage, database: &Postgres) {
    let (place, name) = ("postgresql:5432", &database.name);
    stage.node.edit("Job", JOB, |job| {
        let args = job["spec"]["template"]["spec"]["containers"][0]["args"].as_array_mut();
        let mut args = args.expect("arguments").iter_mut();
        let to = args.find(|arg| arg.as_str().is_some_and(|arg| arg.starts_with("--to=")));
        *to.expect("--to") = json!(format!("--to=postgresql://smtp@{place}/{name}"));
    });
    let with_password = format!("postgresql://smtp:{}@{place}/{name}", KEY.replace(' ', "%20"));
    let values = [
        ("SMTP_DATABASE_PASSWORD", KEY),
        ("SMTP_DATABASE_URL", &with_password),
    ];
    stage.node.change("Secret", "smtp-secrets", &values);
}

/// Says something to the server of a pod; gives what it answers.
fn say(pod: &Pod, words: &[&str]) -> String {
    pod.done(&[&["smtp-server"], words].concat())
}

/// Mail and users that only this pod's claim has. Gives the accounts' secrets.
fn fill(stage: &Stage, pod: &Pod) -> Vec<String> {
    let mut secrets = Vec::new();
    for number in 0..ACCOUNTS {
        let name = format!("user{number}");
        let words = [
            "account",
            "add",
            &name,
            "--app",
            "--sender",
            "*@example.com",
            "--output",
            "json",
        ];
        let made: Value = serde_json::from_str(&say(pod, &words)).expect("JSON");
        secrets.push(made["secret"].as_str().expect("a secret").to_owned());
    }
    say(
        pod,
        &[
            "domain",
            "add",
            "made.example",
            "--deliver",
            "smtp:mailboxes.mail.svc.cluster.local:25",
        ],
    );
    say(pod, &["alias", "add", "team@made.example", "ann@example.com"]);
    stage.put_off(true);
    let mut wire = Wire::hello(pod.at(2525));
    for number in 0..MESSAGES - 1 {
        assert_eq!(give(&mut wire, &subject(number)), 250);
    }
    // One of a size that is not kept in a row.
    let large = format!(
        "Subject: {}\r\n\r\n{}",
        subject(MESSAGES - 1),
        "0123456789abcde\r\n".repeat(60_000)
    );
    assert_eq!(wire.mail("a@far.example", &["ann@example.com"], &large).code, 250);
    wait_for_secs("everything to be put off", 60, || {
        pod.metric("smtp_queue_recipients{state=\"deferred\"}") == MESSAGES as f64
    });
    secrets
}

fn subject(number: usize) -> String {
    format!("{number:04}")
}

/// Waits until a part of the messages is in the database, which takes no more of them then as long as this is kept. It looks by itself, every few
/// milliseconds: the others take a second or two.
fn stop_in_the_middle(database: &Postgres) -> Held {
    let stopped = database.hold(&format!(
        "DO $$
         DECLARE there bigint := 0;
         BEGIN
             WHILE there < {} LOOP
                 PERFORM pg_sleep(0.005);
                 IF to_regclass('messages') IS NOT NULL THEN
                     EXECUTE 'SELECT count(*) FROM messages' INTO there;
                 END IF;
                 COMMIT;
             END LOOP;
         END $$;
         BEGIN; LOCK TABLE messages IN EXCLUSIVE MODE",
        MESSAGES / 4
    ));
    let is_locked = "SELECT count(*) FROM pg_locks WHERE granted AND mode = 'ExclusiveLock' AND relation = to_regclass('messages')";
    wait_for_secs("the Job to be in the middle", 60, || {
        database.sql(is_locked) == "1"
    });
    stopped
}

#[test]
fn a_claim_is_moved_by_a_job_that_is_killed_in_between_and_all_of_it_is_delivered_once() {
    let (database, mut stage) = (database(), Stage::of(Mode::Embedded, objects()));
    stage.edit(|pod| {
        let unlimited = json!({ "name": "SMTP_RATE_LIMITING__ENABLED", "value": "false" });
        pod["containers"][0]["env"]
            .as_array_mut()
            .expect("variables")
            .push(unlimited);
    });
    let pod = stage.start(0);
    pod.wait_ready();
    let secrets = fill(&stage, &pod);
    // kubectl scale statefulset smtp-server --replicas=0
    assert_eq!(pod.delete().code, 0);
    drop(pod);

    edit(&stage, &database);
    stage = stage.with_database(database);
    let database = stage.database();
    let there = || {
        database
            .sql("SELECT count(*) FROM messages")
            .parse::<usize>()
            .expect("a number")
    };
    let mut moved_before = 0;
    let done = stage.node.run_job(JOB, |number, pod| {
        if number == 0 {
            let stopped = stop_in_the_middle(database);
            // The node is short of memory, say.
            pod.crash();
            pod.wait_end();
            moved_before = there();
            drop(stopped);
        }
    });
    assert!(
        (MESSAGES / 4..MESSAGES).contains(&moved_before),
        "{moved_before}: it was not killed in the middle"
    );
    assert!(done.complete, "{done:?}");
    let codes: Vec<i32> = done.pods.iter().map(|pod| pod.code).collect();
    assert_eq!(codes, [137, 0], "{done:?}");
    let told = &done.pods[1].output;
    assert!(
        told.contains("\nmoved ") && told.contains(" were there already), "),
        "{told}"
    );
    assert_eq!(there(), MESSAGES);
    // A second time it has nothing to do, and does no harm.
    let again = stage.node.run_job(JOB, |_, _| {});
    assert!(again.complete && again.pods.len() == 1, "{again:?}");
    assert!(
        again.pods[0]
            .output
            .contains("moved 0 messages (0 were there already), 0 records"),
        "{again:?}"
    );
    assert_eq!(there(), MESSAGES);

    // kubectl apply -k k8s/overlays/postgresql
    stage.mode = Mode::Postgresql;
    let pod = stage.start(0);
    pod.wait_ready();
    assert_eq!(pod.metric("smtp_queue_depth"), MESSAGES as f64);
    stage.put_off(false);
    retry(&pod);
    wait_for_secs("the queue to be empty", 120, || {
        pod.metric("smtp_queue_depth") == 0.0
    });
    let all: Vec<String> = (0..MESSAGES).map(subject).collect();
    assert_eq!(subjects(&stage.sink), all);
    // Its users are there too, with the secrets that they have.
    let accounts = say(&pod, &["account", "list", "--output", "json"]);
    for (number, secret) in secrets.iter().enumerate() {
        let name = format!("user{number}");
        assert!(accounts.contains(&format!("\"{name}\"")), "{accounts}");
        let mut swaks = swaks(pod.at(5870), &name, secret);
        run(swaks.args(["--from", "x@example.com", "--to", "bob@partner.example"]));
    }
    let mut wire = Wire::hello(pod.at(2525));
    let to_team = wire.mail(
        "a@far.example",
        &["team@made.example"],
        "Subject: to the team\r\n\r\n",
    );
    assert_eq!(to_team.code, 250, "{to_team:?}");
    stage.sink.wait(MESSAGES + ACCOUNTS + 1);
    wait_for("the queue to be empty", || pod.metric("smtp_queue_depth") == 0.0);
}
