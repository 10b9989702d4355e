//! The host's own counters, read from `/metrics` before the kill and at the end, and added up.
//!
//! A killed host forgets its counters, so what it counted between the last reading and the kill (milliseconds) is missing; the
//! verdict does not rest on them. Knows the text form of Prometheus, as far as the demo needs it.

use std::collections::BTreeMap;

/// Counters of one channel.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    counters: BTreeMap<String, u64>,
    /// Deliveries by the upper bound of their bucket, in ms.
    settled: BTreeMap<u64, u64>,
}

const HISTOGRAM: &str = "bugle_settle_milliseconds_bucket";

impl Figures {
    /// Adds a reading; counters that are not of this channel are skipped.
    pub(crate) fn add(&mut self, metrics: &str, subscription: &str) {
        let label = format!("subscription=\"{subscription}\"");
        let mut below = 0;
        for line in metrics.lines().filter(|line| line.contains(&label)) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let Ok(value) = value.parse::<u64>() else { continue };
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            if name != HISTOGRAM {
                *self.counters.entry(name.to_owned()).or_default() += value;
                continue;
            }
            let bound = labels.split("le=\"").nth(1).and_then(|rest| rest.split('"').next());
            if let Some(Ok(bound)) = bound.map(str::parse) {
                *self.settled.entry(bound).or_default() += value - below;
                below = value;
            }
        }
    }

    /// A counter; one that was never seen is 0.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        self.counters.get(name).copied().unwrap_or_default()
    }

    /// The time that this many of a hundred deliveries stayed below.
    pub(crate) fn settled_ms(&self, percent: u64) -> Option<u64> {
        let total: u64 = self.settled.values().sum();
        let rank = (total * percent).div_ceil(100).max(1);
        let mut seen = 0;
        self.settled.iter().find_map(|(bound, count)| {
            seen += count;
            (seen >= rank).then_some(*bound)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Figures;

    #[test]
    fn two_readings_add_up() {
        let text = |acked: u64, counts: [u64; 2]| {
            let [low, high] = counts;
            format!(
                "# TYPE bugle_delivered_total counter\nbugle_delivered_total{{subscription=\"a\"}} {acked}\nbugle_delivered_total{{subscription=\"b\"}} 9\n\
                 bugle_settle_milliseconds_bucket{{subscription=\"a\",le=\"5\"}} {low}\n\
                 bugle_settle_milliseconds_bucket{{subscription=\"a\",le=\"80\"}} {high}\n\
                 bugle_settle_milliseconds_bucket{{subscription=\"a\",le=\"+Inf\"}} {high}\n"
            )
        };
        let mut figures = Figures::default();
        figures.add(&text(3, [2, 3]), "a");
        figures.add(&text(4, [4, 4]), "a");
        assert_eq!(figures.counter("bugle_delivered_total"), 7);
        assert_eq!((figures.settled_ms(50), figures.settled_ms(99)), (Some(5), Some(80)));
        assert_eq!(Figures::default().settled_ms(50), None);
    }
}
