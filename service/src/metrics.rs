//! Figures as Prometheus reads them: families of a name, a meaning and values by labels, in the text format of
//! OpenMetrics. Counters get `_total` behind their names.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet, text},
    metrics::MetricType,
    registry::Registry,
};

/// What tells the values of a family apart: name and value each.
pub type Labels = Vec<(&'static str, String)>;

/// What is told at once.
#[derive(Debug, Default)]
pub struct Page {
    families: Vec<Family>,
}

#[derive(Debug)]
struct Family {
    name: String,
    help: String,
    values: Values,
}

#[derive(Debug)]
enum Values {
    /// They only grow, until the program begins anew.
    Counters(Vec<(Labels, u64)>),
    /// They go up and down.
    Gauges(Vec<(Labels, i64)>),
}

impl Page {
    /// Tells a counter, whose name ends with its unit.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.counters(name, help, [(Labels::new(), value)]);
    }

    /// Tells counters that labels tell apart.
    pub fn counters(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels, u64)>,
    ) {
        let values = Values::Counters(values.into_iter().collect());
        self.add(name, help, values);
    }

    /// Tells what goes up and down.
    pub fn gauge(&mut self, name: &str, help: &str, value: i64) {
        self.gauges(name, help, [(Labels::new(), value)]);
    }

    /// Tells such that labels tell apart.
    pub fn gauges(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels, i64)>,
    ) {
        let values = Values::Gauges(values.into_iter().collect());
        self.add(name, help, values);
    }

    fn add(&mut self, name: &str, help: &str, values: Values) {
        self.families.push(Family {
            name: name.to_owned(),
            help: help.trim().to_owned(),
            values,
        });
    }

    /// As text; names begin with the prefix and `_`.
    #[must_use]
    pub fn encode(self, prefix: &str) -> String {
        let mut registry = Registry::with_prefix(prefix);
        registry.register_collector(Box::new(self));
        let mut page = String::new();
        // Writing to a string does not fail.
        let _ = text::encode(&mut page, &registry);
        page
    }
}

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for family in &self.families {
            family.encode(&mut encoder)?;
        }
        Ok(())
    }
}

impl Family {
    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let kind = match self.values {
            Values::Counters(_) => MetricType::Counter,
            Values::Gauges(_) => MetricType::Gauge,
        };
        let mut metric = encoder.encode_descriptor(&self.name, &self.help, None, kind)?;
        match &self.values {
            Values::Counters(values) => {
                for (labels, value) in values {
                    if labels.is_empty() {
                        metric.encode_counter::<NoLabelSet, u64, u64>(value, None)?;
                    } else {
                        metric
                            .encode_family(labels)?
                            .encode_counter::<NoLabelSet, u64, u64>(value, None)?;
                    }
                }
            }
            Values::Gauges(values) => {
                for (labels, value) in values {
                    if labels.is_empty() {
                        metric.encode_gauge(value)?;
                    } else {
                        metric.encode_family(labels)?.encode_gauge(value)?;
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_told_with_their_meaning() {
        let mut page = Page::default();
        page.counter("ip_octets", " Octets of IP packets.", u64::MAX);
        page.gauge("unexplained_packets", "Packets nowhere.", -3);
        let by = |name: &str| vec![("destination", name.to_owned())];
        page.counters("records", "Records.", [(by("a:1"), 5), (by("b\"2"), 0)]);
        let expected = "\
# HELP weir_ip_octets Octets of IP packets.
# TYPE weir_ip_octets counter
weir_ip_octets_total 18446744073709551615
# HELP weir_unexplained_packets Packets nowhere.
# TYPE weir_unexplained_packets gauge
weir_unexplained_packets -3
# HELP weir_records Records.
# TYPE weir_records counter
weir_records_total{destination=\"a:1\"} 5
weir_records_total{destination=\"b\\\"2\"} 0
# EOF
";
        assert_eq!(page.encode("weir"), expected);
    }
}
