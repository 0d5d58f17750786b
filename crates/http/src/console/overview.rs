//! The server at a glance, with news every few seconds.

use super::chart::{Bar, bars, line};
use super::session::User;
use super::view::{View, octets, span};
use super::{Base, Failed, Page, said, shown};
use crate::api;
use crate::error::ApiError;
use crate::router::Shared;
use askama::Template;
use axum::Json;
use axum::extract::State;
use axum::response::sse::{Event, Sse};
use futures_util::Stream;
use futures_util::stream::unfold;
use serde_json::Value;
use std::convert::Infallible;
use std::time::Duration;

/// Between two pieces of news.
const NEWS: Duration = Duration::from_secs(3);
/// Domains that are shown.
const DOMAINS: usize = 8;

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    base: Base,
    now: Now,
}

/// What changes.
#[derive(Template)]
#[template(path = "overview_now.html")]
struct Now {
    status: Value,
    statistics: Value,
    stats: Value,
    states: Vec<Bar>,
    ages: Vec<Bar>,
    domains: Vec<Bar>,
    refusals: Vec<Bar>,
    destinations: Value,
    /// Messages a second received, delivered and deferred, as lines.
    lines: [String; 3],
    most: f64,
}

impl Now {
    async fn look(shared: &Shared) -> Result<Now, ApiError> {
        let state = || State(shared.clone());
        let Json(statistics) = api::statistics::statistics(state()).await;
        let stats = said(api::queue::stats(state()).await?.0);
        let shape = [("limit".to_owned(), DOMAINS.to_string())];
        let shape = said(api::queue::shape(state(), super::asked(&shape)).await?.0);
        let down = said(
            api::destinations::destinations(state(), super::asked(&[]))
                .await?
                .0,
        );
        let statistics = said(statistics);
        let named = |value: View<'_>, key: &str| -> Vec<(String, u64)> {
            let members = value.members(key).into_iter();
            members
                .map(|(name, count)| (name.to_owned(), count.0.as_u64().unwrap_or(0)))
                .collect()
        };
        let mut refusals = named(View(&statistics), "rejected_by");
        refusals.retain(|(_, count)| *count > 0);
        refusals.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        refusals.truncate(DOMAINS);
        let domains = View(&shape)
            .list("domains")
            .into_iter()
            .map(|domain| match domain.text("domain") {
                name if name.is_empty() => ("(none)".to_owned(), domain.number("recipients")),
                name => (name, domain.number("recipients")),
            });
        let series = shared.rates.series();
        let most = series.iter().flatten().copied().fold(0.0, f64::max);
        Ok(Now {
            states: bars(named(View(&stats), "recipients")),
            ages: bars(ages(View(&shape))),
            domains: bars(domains.collect::<Vec<_>>()),
            refusals: bars(refusals),
            lines: [0, 1, 2].map(|which| {
                let values: Vec<f64> = series
                    .iter()
                    .map(|rates| rates.get(which).copied().unwrap_or(0.0))
                    .collect();
                line(&values, most)
            }),
            most,
            status: said(shared.rooms.status()),
            statistics,
            stats,
            destinations: down,
        })
    }

    fn status(&self) -> View<'_> {
        View(&self.status)
    }

    fn stats(&self) -> View<'_> {
        View(&self.stats)
    }

    fn uptime(&self) -> String {
        span(self.status().number("uptime_seconds"))
    }

    fn bytes(&self) -> String {
        octets(self.stats().number("bytes"))
    }

    /// Name, total, and the rates of 1, 5 and 15 minutes.
    fn totals(&self) -> Vec<(String, u64, [String; 3])> {
        let totals = View(&self.statistics).members("total").into_iter();
        let rates = |name: &str| {
            let rates = &self.statistics["per_second"][name];
            [0, 1, 2].map(|place| format!("{:.2}", rates[place].as_f64().unwrap_or(0.0)))
        };
        totals
            .map(|(name, total)| (name.to_owned(), total.0.as_u64().unwrap_or(0), rates(name)))
            .collect()
    }

    fn charts(&self) -> [(&'static str, &[Bar]); 4] {
        [
            ("Queue by state", &self.states),
            ("Queue by age", &self.ages),
            ("Queue by domain", &self.domains),
            ("Refused, by reason", &self.refusals),
        ]
    }

    fn reload_failed(&self) -> bool {
        !self.status().get("config").is("last_reload_succeeded")
    }

    fn down(&self) -> Vec<View<'_>> {
        let all = View(&self.destinations).list("entries").into_iter();
        all.filter(|one| one.text("state") != "up")
            .take(DOMAINS)
            .collect()
    }
}

/// Recipients by age, in minutes.
fn ages(shape: View<'_>) -> Vec<(String, u64)> {
    let bounds: Vec<u64> = shape
        .list("bounds")
        .iter()
        .map(|bound| bound.0.as_u64().unwrap_or(0))
        .collect();
    let last = bounds.last().copied().unwrap_or(0);
    let names = bounds.iter().map(|bound| format!("under {}", span(bound * 60)));
    let names = names.chain([format!("over {}", span(last * 60))]);
    let counts = shape.list("total");
    names
        .zip(counts)
        .map(|(name, count)| (name, count.0.as_u64().unwrap_or(0)))
        .collect()
}

pub(super) async fn page(State(shared): State<Shared>, user: User) -> Page {
    let base = Base::new(&shared, &user, "Overview");
    match Now::look(&shared).await {
        Ok(now) => Ok(shown(&Overview { base, now })),
        Err(error) => Err(Failed { base, error }),
    }
}

/// The same, again and again, until the server stops or the admin password becomes another.
pub(super) async fn live(
    State(shared): State<Shared>,
    _: User,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    Sse::new(news(shared, |shared| async move {
        let now = Now::look(&shared).await.ok()?;
        now.render().ok()
    }))
}

/// What `look` sees, every few seconds, until the server stops, it sees nothing, or the admin password is another: then the session that
/// asked has ended.
pub(super) fn news<L, F>(shared: Shared, look: L) -> impl Stream<Item = Result<Event, Infallible>>
where
    L: Fn(Shared) -> F,
    F: Future<Output = Option<String>>,
{
    let password = shared.rooms.admin_password();
    unfold((shared, look, password), |(shared, look, password)| async move {
        tokio::time::sleep(NEWS).await;
        if shared.rooms.status().draining || shared.rooms.admin_password() != password {
            return None;
        }
        let text = look(shared.clone()).await?;
        Some((Ok(Event::default().data(text)), (shared, look, password)))
    })
}
