//! `run`: starts the rooms in their order, and stays until they are to stop.
//!
//! 1. Read the configuration; what is wrong ends here (78), before storage is touched.
//! 2. Health: liveness answers from now on, readiness says what is missing.
//! 3. Open the store: lock, wait for a database that is away, migrate, recover (74, 75); in it the directory.
//! 4. Start delivery.
//! 5. Bind and start the SMTP listeners: only what can be kept is accepted.
//! 6. Ready; reloads and, at last, the drain.

use crate::cli::SourceArgs;
use crate::exit::{Exit, Failure};
use crate::failed_start;
use crate::farewell;
use crate::history;
use crate::house::{House, VERSION};
use crate::lifecycle::{self, Signals};
use crate::next_hops::NextHops;
use crate::people::{People, Plan};
use crate::sendmail;
use crate::sources;
use crate::storage::{self, Opened, Others};
use crate::welcome;
use smtp_config::{Config, Watched};
use smtp_deliver::Delivery;
use smtp_directory::Shelf;
use smtp_export::{Receivers, Target, Traces, Webhooks};
use smtp_http::{MetricsSettings, Settings};
use smtp_observe::Event;
use smtp_queue::Queue;
use smtp_receive::{Neighbours, Reception};
use std::collections::BTreeSet;
use std::fmt::Display;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How long what still runs may take when everything is closed.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// Runs the server until it is told to stop.
pub(crate) fn run(args: &SourceArgs) -> Result<(), Failure> {
    let sources = args.sources();
    let watched = Watched::look(&sources);
    let loaded = sources::load(&sources)
        .map_err(|failure| failed_start::report(&failed_start::log(&sources), failure))?;
    let house = House::new(loaded, sources, watched);
    let result = live(&house);
    match result {
        Err(failure) if house.reception().is_none() => Err(failed_start::report(&house.observer, failure)),
        result => result,
    }
}

fn live(house: &Arc<House>) -> Result<(), Failure> {
    certificates(&house.config.load())?;
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("smtp-server")
        .build()
        .map_err(|e| Failure::new(Exit::Temporary, format_args!("cannot start threads: {e}")))?;
    let result = runtime.block_on(serve(house));
    runtime.shutdown_timeout(LAST_WAIT);
    if let Some(history) = house.history() {
        history.flush();
    }
    result
}

/// Certificates that cannot be used end the start before storage is touched, like any other bad configuration.
fn certificates(config: &Config) -> Result<(), Failure> {
    let errors: Vec<String> = smtp_receive::check_certificates(config)
        .into_iter()
        .filter_map(Result::err)
        .collect();
    if errors.is_empty() {
        return Ok(());
    }
    Err(Failure::new(Exit::Config, errors.join("\n")))
}

/// As many open files as the system allows: each connection is one.
fn raise_open_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        // With fewer the connection limit comes earlier; that is no reason not to start.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

async fn serve(house: &Arc<House>) -> Result<(), Failure> {
    let mut signals = Signals::install()?;
    let plan = Plan::read(&house.config.load(), &house.password());
    let plan = plan.map_err(|faults| Failure::new(Exit::Config, faults))?;
    let target = Target::new(&house.config.load());
    let target = target.map_err(|reason| Failure::new(Exit::Config, reason))?;
    let receivers = Receivers::new(&house.config.load());
    let receivers = receivers.map_err(|reason| Failure::new(Exit::Config, reason))?;
    house.announce();
    let http = open_http(house).await?;
    house.traces_started(Traces::start(target, house.observer.clone(), VERSION));
    let result = keep_mail(house, plan, receivers, &mut signals).await;
    if let Some(traces) = house.traces() {
        traces.stop(LAST_WAIT).await;
    }
    http.stop().await;
    house.observer.flush();
    result
}

/// The HTTP listeners, served by a task.
struct RunningHttp {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl RunningHttp {
    async fn stop(self) {
        // Either may be gone already; then there is nothing to wait for.
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

async fn open_http(house: &Arc<House>) -> Result<RunningHttp, Failure> {
    let settings = http_settings(&house.config.load());
    let server = smtp_http::bind(settings, house.observer.clone())
        .await
        .map_err(|e| cannot_listen(&e, e.source.kind(), "http.port, http.admin_port, metrics.port"))?;
    house.http_opened(&server);
    let (stop, stopped) = oneshot::channel();
    let rooms = house.clone();
    let task = tokio::spawn(server.serve(rooms, async {
        let _ = stopped.await;
    }));
    Ok(RunningHttp { stop, task })
}

/// An address that cannot be had, and what to do about it.
fn cannot_listen(error: &dyn Display, kind: ErrorKind, keys: &str) -> Failure {
    let hint = match kind {
        ErrorKind::AddrInUse => {
            format!(
                "\nAnother process has it, perhaps another smtp-server: stop that, or set another port ({keys})."
            )
        }
        ErrorKind::PermissionDenied => format!(
            "\nPorts below 1024 need CAP_NET_BIND_SERVICE, or the machine's net.ipv4.ip_unprivileged_port_start (IPv6 too) no higher than the port: \
             give it one of them, or set another port ({keys}) and map it from outside."
        ),
        ErrorKind::AddrNotAvailable => {
            "\nThis machine does not have that address: see server.host, http.host and http.admin_host."
                .into()
        }
        _ => String::new(),
    };
    Failure::new(Exit::Unavailable, format_args!("{error}{hint}"))
}

fn http_settings(config: &Config) -> Settings {
    let http = &config.http;
    let on = |port| listen(&http.host, port);
    let metrics = config.metrics.enabled.then(|| MetricsSettings {
        path: config.metrics.path.clone(),
        listen: if config.metrics.port == http.port {
            Vec::new()
        } else {
            on(config.metrics.port)
        },
    });
    Settings {
        listen: on(http.port),
        admin: match http.admin_port {
            0 => Vec::new(),
            port => listen(&http.admin_host, port),
        },
        metrics,
        console: config.console.enabled,
    }
}

/// On a system without IPv6 `::` becomes IPv4's, and `::1` is left to its IPv4 companion.
fn listen(hosts: &[IpAddr], port: u16) -> Vec<SocketAddr> {
    let has_ipv6 = std::net::UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    let usable = hosts.iter().filter_map(|host| match host {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) if !has_ipv6 => Some(IpAddr::from(Ipv4Addr::UNSPECIFIED)),
        IpAddr::V6(Ipv6Addr::LOCALHOST) if !has_ipv6 && hosts.len() > 1 => None,
        host => Some(*host),
    });
    let addresses: BTreeSet<SocketAddr> = usable.map(|host| SocketAddr::new(host, port)).collect();
    addresses.into_iter().collect()
}

/// Opens the store, lets mail in and out until a signal, and closes the store whatever happened.
async fn keep_mail(
    house: &Arc<House>,
    plan: Plan,
    receivers: Receivers,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let Opened {
        queue,
        outbox,
        shelf,
        archive,
    } = tokio::select! {
        opened = storage::open(house) => opened?,
        // Nothing was accepted yet, and a recovery that is broken off starts anew.
        reason = lifecycle::stop_asked(house, signals) => {
            house.draining(&reason);
            return Ok(());
        }
    };
    house.queue_opened(queue.clone());
    let observer = house.observer.clone();
    house.webhooks_started(Webhooks::start(receivers, outbox, observer, VERSION));
    history::open(house, queue.spool().clone(), archive).await;
    let result = match meet_people(house, plan, shelf).await {
        Ok(()) => move_mail(house, &queue, signals).await,
        Err(failure) => Err(failure),
    };
    if let Some(webhooks) = house.webhooks() {
        webhooks.stop(LAST_WAIT).await;
    }
    history::flush(house).await;
    // Claims are deleted on the word that it is 0: what could not be counted is not said.
    let queued = farewell::count(&queue).await;
    let left_behind = farewell::last_word(house, queued).await;
    let closed = queue.store().close().await;
    if house.reception().is_some() {
        house.stopped(queued, left_behind);
    }
    result?;
    closed.map_err(|e| storage::failure(&house.config.load(), &e))
}

/// Opens the directory, with what is declared and what the store keeps.
async fn meet_people(house: &Arc<House>, plan: Plan, shelf: Arc<dyn Shelf>) -> Result<(), Failure> {
    let (people, warnings) = plan.open(shelf).await?;
    for warning in &warnings {
        house.observer.emit(Event::ConfigWarning { warning });
    }
    house.people_known(people);
    Ok(())
}

/// Delivery, then reception; reloads until a signal to stop; the drain.
async fn move_mail(house: &Arc<House>, queue: &Queue, signals: &mut Signals) -> Result<(), Failure> {
    let config = house.config.clone();
    let others = Others::of(queue);
    let delivery = Delivery::start(
        config,
        people(house)?.directory.clone(),
        queue.clone(),
        house.observer.clone(),
    )
    .map_err(|reason| Failure::new(Exit::Config, reason))?;
    house.delivery_started(delivery.clone());
    let started = start_reception(house, queue, &delivery).await;
    if started.is_err() {
        delivery.drain(LAST_WAIT).await;
    }
    started?;
    let looking = tokio::spawn(sendmail::look(house.clone()));
    let following_files = tokio::spawn(house.clone().follow_files());
    let following_others = others.map(|others| tokio::spawn(others.follow(house.clone(), queue.clone())));
    let rehearsing = tokio::spawn(farewell::rehearse(house.clone(), queue.clone()));
    let reason = lifecycle::serve_until_asked(house, signals).await;
    looking.abort();
    following_files.abort();
    if let Some(following) = following_others {
        following.abort();
    }
    rehearsing.abort();
    lifecycle::drain(house, queue, signals, &reason).await;
    Ok(())
}

fn people(house: &House) -> Result<&People, Failure> {
    let missing = || Failure::new(Exit::Io, "the directory was not opened");
    house.people().ok_or_else(missing)
}

/// The SMTP listeners come last: from the first connection on, everything behind them works.
async fn start_reception(house: &Arc<House>, queue: &Queue, delivery: &Arc<Delivery>) -> Result<(), Failure> {
    let unavailable = |e: std::io::Error| match e.kind() {
        ErrorKind::InvalidData => Failure::new(Exit::Config, e),
        kind => cannot_listen(&e, kind, "server.port, smtps.port, submission.port"),
    };
    let people = people(house)?;
    let neighbours = Neighbours {
        queue: queue.clone(),
        directory: people.directory.clone(),
        tokens: people.tokens.clone(),
        callout: Some(Arc::new(NextHops(delivery.clone()))),
    };
    let reception = Reception::bind(house.config.clone(), neighbours, house.observer.clone());
    let reception = Arc::new(reception.map_err(unavailable)?);
    reception.start().map_err(unavailable)?;
    house.reception_started(reception);
    let queued_messages = queue.store().stats().await.map_or(0, |stats| stats.messages);
    house.observer.emit(Event::Ready { queued_messages });
    welcome::greet(house)
}
