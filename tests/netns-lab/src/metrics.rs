//! The gateway's metrics, in Prometheus' text format.

use anyhow::{Context as _, Result};

/// All samples of one scrape.
#[derive(Debug, Default)]
pub struct Metrics(Vec<Sample>);

#[derive(Debug, PartialEq)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Metrics {
    /// Reads a scrape.
    ///
    /// # Errors
    /// When a line is no sample.
    pub fn parse(text: &str) -> Result<Self> {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let samples = lines.map(|line| sample(line).with_context(|| format!("no sample: {line}")));
        samples.collect::<Result<_>>().map(Self)
    }

    /// The sample of this name with at least these labels.
    pub fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        self.matching(name, labels).map(|sample| sample.value).next()
    }

    /// A counter; one that was not counted yet is absent or zero.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counters are whole and below 2^53"
    )]
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        self.matching(name, labels).map(|sample| sample.value).sum::<f64>() as u64
    }

    /// The values of a label among samples that have at least `labels`, each with its count.
    pub fn by_label(&self, name: &str, labels: &[(&str, &str)], label: &str) -> Vec<(String, u64)> {
        let mut values: Vec<String> = self
            .matching(name, labels)
            .flat_map(|sample| sample.labels.iter().filter(|(key, _)| key == label))
            .map(|(_, value)| value.clone())
            .collect();
        values.sort();
        values.dedup();
        values
            .into_iter()
            .map(|value| {
                let all: Vec<_> = labels.iter().copied().chain([(label, value.as_str())]).collect();
                let count = self.count(name, &all);
                (value, count)
            })
            .collect()
    }

    fn matching<'a>(&'a self, name: &'a str, labels: &'a [(&str, &str)]) -> impl Iterator<Item = &'a Sample> {
        self.0.iter().filter(move |sample| {
            sample.name == name
                && labels.iter().all(|(key, value)| sample.labels.iter().any(|(k, v)| k == key && v == value))
        })
    }
}

/// Reads `name{label="value",…} number`.
fn sample(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, parse_labels(labels.strip_suffix('}')?)?),
        None => (series, Vec::new()),
    };
    Some(Sample { name: name.to_owned(), labels, value: value.parse().ok()? })
}

fn parse_labels(mut text: &str) -> Option<Vec<(String, String)>> {
    let mut labels = Vec::new();
    while !text.is_empty() {
        let (key, rest) = text.split_once("=\"")?;
        let mut value = String::new();
        let mut rest = rest.chars();
        loop {
            match rest.next()? {
                '"' => break,
                '\\' => match rest.next()? {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                other => value.push(other),
            }
        }
        labels.push((key.to_owned(), value));
        let rest = rest.as_str();
        text = rest.strip_prefix(',').unwrap_or(rest);
    }
    Some(labels)
}

#[cfg(test)]
mod tests {
    use super::Metrics;

    const TEXT: &str = "# HELP nexavpn_drops_total Packets dropped.\n# TYPE nexavpn_drops_total counter\n\
        nexavpn_drops_total{reason=\"no_rule\",direction=\"ingress\"} 12\n\
        nexavpn_drops_total{reason=\"no_rule\",direction=\"egress\"} 1\n\
        nexavpn_drops_total{reason=\"no_flow\",direction=\"egress\"} 3\n\
        nexavpn_peer_received_bytes_total{peer=\"a\",name=\"Ada's \\\"big\\\" {laptop}, 1\"} 9007199254740991\n\
        nexavpn_generation 7\n";

    #[test]
    fn samples_are_found_by_some_of_their_labels() {
        let metrics = Metrics::parse(TEXT).expect("parsed");
        assert_eq!(metrics.get("nexavpn_generation", &[]), Some(7.0));
        assert_eq!(metrics.count("nexavpn_drops_total", &[("reason", "no_rule")]), 13);
        assert_eq!(
            metrics.count("nexavpn_peer_received_bytes_total", &[("peer", "a")]),
            9_007_199_254_740_991
        );
        assert_eq!(metrics.count("nexavpn_drops_total", &[("reason", "malformed")]), 0);
        let reasons = metrics.by_label("nexavpn_drops_total", &[("direction", "egress")], "reason");
        assert_eq!(reasons, [("no_flow".to_owned(), 3), ("no_rule".to_owned(), 1)]);
    }

    #[test]
    fn lines_that_are_no_samples_are_refused() {
        for bad in ["nexavpn_generation", "a{b=\"c} 1", "a{b=\"c\" 1", "a b"] {
            assert!(Metrics::parse(bad).is_err(), "{bad}");
        }
    }
}
