//! How the API's JSON looks in a page.

use jiff::Timestamp;
use serde_json::Value;

/// A value that templates ask for what it has; what is missing is empty.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'v>(pub(super) &'v Value);

impl<'v> View<'v> {
    /// A part of it.
    pub(super) fn get(&self, key: &str) -> View<'v> {
        View(&self.0[key])
    }

    /// A text; numbers and others as they are written, nothing for null.
    pub(super) fn text(&self, key: &str) -> String {
        self.get(key).own_text()
    }

    /// It as a text.
    pub(super) fn own_text(&self) -> String {
        match self.0 {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            Value::Array(items) => items
                .iter()
                .map(|item| View(item).own_text())
                .collect::<Vec<_>>()
                .join(", "),
            other => other.to_string(),
        }
    }

    pub(super) fn number(&self, key: &str) -> u64 {
        self.0[key].as_u64().unwrap_or(0)
    }

    pub(super) fn is(&self, key: &str) -> bool {
        self.0[key] == true
    }

    pub(super) fn list(&self, key: &str) -> Vec<View<'v>> {
        self.0[key].as_array().into_iter().flatten().map(View).collect()
    }

    /// The members of an object.
    pub(super) fn members(&self, key: &str) -> Vec<(&'v str, View<'v>)> {
        let members = self.0[key].as_object().into_iter().flatten();
        members
            .map(|(name, value)| (name.as_str(), View(value)))
            .collect()
    }

    /// A moment, to the second.
    pub(super) fn time(&self, key: &str) -> String {
        let time = self.0[key]
            .as_str()
            .and_then(|text| text.parse::<Timestamp>().ok());
        time.map_or_else(String::new, |time| format!("{time:.0}"))
    }

    /// How long ago, or how long until: `4m12s`.
    pub(super) fn distance(&self, key: &str) -> String {
        let time = self.0[key]
            .as_str()
            .and_then(|text| text.parse::<Timestamp>().ok());
        time.map_or_else(String::new, |time| {
            span(time.as_second().abs_diff(Timestamp::now().as_second()))
        })
    }
}

/// A time in its two largest units.
pub(super) fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{:02}s", seconds % 60),
        (0, ..) => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

/// Octets in a unit that fits.
pub(super) fn octets(octets: u64) -> String {
    match octets {
        0..1024 => format!("{octets} B"),
        1024..1_048_576 => format!("{:.1} KiB", octets as f64 / 1024.0),
        _ => format!("{:.1} MiB", octets as f64 / 1_048_576.0),
    }
}
