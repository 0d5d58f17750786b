//! Small charts, as shapes for SVG.

/// Width and height of a line chart, in units of its own.
pub(super) const WIDTH: f64 = 600.0;
pub(super) const HEIGHT: f64 = 120.0;

/// A line: `points` of a polyline, from the oldest to the newest value, and what its highest point stands for.
pub(super) fn line(values: &[f64], most: f64) -> String {
    let step = WIDTH / (values.len().max(2) - 1) as f64;
    let points = values.iter().enumerate().map(|(place, value)| {
        let height = if most > 0.0 {
            value / most * (HEIGHT - 4.0)
        } else {
            0.0
        };
        format!("{:.1},{:.1}", place as f64 * step, HEIGHT - 2.0 - height)
    });
    points.collect::<Vec<_>>().join(" ")
}

/// A bar of a chart of counts.
#[derive(Clone, Debug)]
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) count: u64,
    /// Of the longest bar, in percent.
    pub(super) share: u64,
}

/// Bars whose lengths are their counts.
pub(super) fn bars(counts: impl IntoIterator<Item = (String, u64)>) -> Vec<Bar> {
    let counts: Vec<(String, u64)> = counts.into_iter().collect();
    let most = counts.iter().map(|(_, count)| *count).max().unwrap_or(0).max(1);
    let bar = |(name, count): (String, u64)| Bar {
        name,
        count,
        share: count.saturating_mul(100) / most,
    };
    counts.into_iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_fit_into_their_chart() {
        assert_eq!(line(&[0.0, 5.0, 10.0], 10.0), "0.0,118.0 300.0,60.0 600.0,2.0");
        assert_eq!(line(&[0.0], 0.0), "0.0,118.0");
        assert_eq!(line(&[], 1.0), "");
    }

    #[test]
    fn the_longest_bar_is_whole() {
        let shares = |counts: &[u64]| -> Vec<u64> {
            let named = counts.iter().map(|count| (String::new(), *count));
            bars(named).iter().map(|bar| bar.share).collect()
        };
        assert_eq!(shares(&[1, 4, 0]), [25, 100, 0]);
        assert_eq!(shares(&[0, 0]), [0, 0]);
    }
}
