//! "Did you mean": the nearest known name.

/// Names longer than this get no hint, so that a hostile file costs little.
const LONGEST: usize = 64;

/// The candidate nearest to `name`, when one is near enough to be meant.
pub(crate) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > LONGEST {
        return None;
    }
    let key = |full: &str| full.rsplit('.').next().unwrap_or_default().to_owned();
    let measured = candidates.map(|candidate| {
        let same_key = key(candidate) == key(name);
        (if same_key { 1 } else { distance(name, candidate) }, candidate)
    });
    let (distance, candidate) = measured.min_by_key(|(distance, _)| *distance)?;
    (distance <= 1 + name.len() / 4).then_some(candidate)
}

/// Insertions, deletions and replacements between two names.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut next = Vec::with_capacity(row.len());
        next.push(i + 1);
        for (pair, to) in row.windows(2).zip(&b) {
            let [diagonal, above] = pair else { continue };
            let left = next.last().copied().unwrap_or_default();
            let replaced = diagonal + usize::from(from != *to);
            next.push(replaced.min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}
