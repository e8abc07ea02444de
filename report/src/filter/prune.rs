//! Which files, and which row groups of them, may hold a flow that fits, from what is known of each without
//! reading its rows: the ends of its times, and the addresses that its Bloom filters have not, also for "source or
//! destination": that is what a hunt for a host is.

use super::ast::{Comparison, Field, Filter, Test};

/// Singles of a set that are looked up in Bloom filters.
const LOOKED_UP_MAX: usize = 16;

/// What is known of a file.
pub trait Known {
    /// Smallest and largest value of a time in the file, nanoseconds since 1970-01-01 UTC.
    fn ends_ns(&self, field: Field) -> Option<(i64, i64)>;

    /// False if no row has this address in this field.
    fn may_have(&self, field: Field, address: u128) -> bool;
}

/// False if no flow of the file fits.
#[must_use]
pub fn may_hold(filter: &Filter, file: &impl Known) -> bool {
    match filter {
        Filter::All(parts) => parts.iter().all(|part| may_hold(part, file)),
        Filter::Any(parts) => parts.iter().any(|part| may_hold(part, file)),
        Filter::Test(Test::Time {
            field,
            comparison,
            at_ms,
        }) => may_be_then(file.ends_ns(*field), *comparison, *at_ms),
        Filter::Test(Test::Within { field, ranges }) => {
            let addresses = matches!(field, Field::SourceAddress | Field::DestinationAddress);
            match ranges.singles() {
                Some(singles) if addresses && singles.len() <= LOOKED_UP_MAX => singles
                    .iter()
                    .any(|address| file.may_have(*field, *address)),
                _ => true,
            }
        }
        Filter::Not(_) | Filter::Test(_) => true,
    }
}

/// False if no flow of this exporter fits.
#[must_use]
pub fn may_be_of(filter: &Filter, exporter: u128) -> bool {
    holds_of(filter, exporter, true)
}

/// Whether a filter holds of this exporter, if what else it asks does, or does not.
fn holds_of(filter: &Filter, exporter: u128, of_others: bool) -> bool {
    let holds = |part: &Filter| holds_of(part, exporter, of_others);
    match filter {
        Filter::All(parts) => parts.iter().all(holds),
        Filter::Any(parts) => parts.iter().any(holds),
        Filter::Test(Test::Within {
            field: Field::Exporter,
            ranges,
        }) => ranges.contains(exporter),
        Filter::Not(inner) => !holds_of(inner, exporter, !of_others),
        Filter::Test(_) => of_others,
    }
}

/// Whether all that a filter looks at is when flows were, and who told of them.
#[must_use]
pub fn is_of_times_and_exporters(filter: &Filter) -> bool {
    match filter {
        Filter::All(parts) | Filter::Any(parts) => parts.iter().all(is_of_times_and_exporters),
        Filter::Not(inner) => is_of_times_and_exporters(inner),
        Filter::Test(Test::Within { field, .. }) => *field == Field::Exporter,
        Filter::Test(test) => matches!(test, Test::Time { .. }),
    }
}

fn may_be_then(ends_ns: Option<(i64, i64)>, comparison: Comparison, at_ms: i64) -> bool {
    let Some((first_ns, last_ns)) = ends_ns else {
        return true;
    };
    let (first_ms, last_ms) = (
        first_ns.div_euclid(1_000_000),
        last_ns.div_euclid(1_000_000),
    );
    match comparison {
        Comparison::Equal => first_ms <= at_ms && at_ms <= last_ms,
        Comparison::NotEqual => true,
        Comparison::Less => first_ms < at_ms,
        Comparison::LessOrEqual => first_ms <= at_ms,
        Comparison::Greater => last_ms > at_ms,
        Comparison::GreaterOrEqual => last_ms >= at_ms,
    }
}

/// The stretch of time outside of which no flow that fits was active, nanoseconds since 1970-01-01
/// UTC; `None` where it has no end.
#[must_use]
pub fn stretch_ns(filter: &Filter) -> (Option<i64>, Option<i64>) {
    match filter {
        Filter::All(parts) => {
            parts
                .iter()
                .map(stretch_ns)
                .fold((None, None), |(from, to), (other_from, other_to)| {
                    let later = from.into_iter().chain(other_from).max();
                    let earlier = to.into_iter().chain(other_to).min();
                    (later, earlier)
                })
        }
        Filter::Any(parts) => {
            let stretches: Vec<_> = parts.iter().map(stretch_ns).collect();
            let from: Option<Vec<i64>> = stretches.iter().map(|(from, _)| *from).collect();
            let to: Option<Vec<i64>> = stretches.iter().map(|(_, to)| *to).collect();
            (
                from.and_then(|ends| ends.into_iter().min()),
                to.and_then(|ends| ends.into_iter().max()),
            )
        }
        Filter::Test(Test::Time {
            field,
            comparison,
            at_ms,
        }) => {
            let at_ns = at_ms.saturating_mul(1_000_000);
            match (field, comparison) {
                (Field::Start | Field::End, Comparison::GreaterOrEqual | Comparison::Greater) => {
                    (Some(at_ns), None)
                }
                (Field::Start | Field::End, Comparison::LessOrEqual | Comparison::Less) => {
                    (None, Some(at_ns))
                }
                _ => (None, None),
            }
        }
        Filter::Not(_) | Filter::Test(_) => (None, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::ranges::Ranges;

    /// A file of flows from 10 to 20 ms, with one address.
    struct File(u128);

    impl Known for File {
        fn ends_ns(&self, field: Field) -> Option<(i64, i64)> {
            (field != Field::Received).then_some((10_500_000, 20_500_000))
        }

        fn may_have(&self, _field: Field, address: u128) -> bool {
            address == self.0
        }
    }

    fn time(comparison: Comparison, at_ms: i64) -> Filter {
        let field = Field::Start;
        Test::Time {
            field,
            comparison,
            at_ms,
        }
        .into()
    }

    fn address(field: Field, address: u128) -> Filter {
        let ranges = Ranges::one(address);
        Test::Within { field, ranges }.into()
    }

    #[test]
    fn a_file_is_left_out_only_if_no_flow_can_fit() {
        let file = File(7);
        for (filter, expected) in [
            (Filter::everything(), true),
            (Filter::Any(vec![]), false),
            (time(Comparison::Less, 10), false),
            (time(Comparison::LessOrEqual, 10), true),
            (time(Comparison::Greater, 20), false),
            (time(Comparison::GreaterOrEqual, 20), true),
            (time(Comparison::Equal, 10), true),
            (time(Comparison::Equal, 21), false),
            (Filter::Not(Box::new(time(Comparison::Equal, 21))), true),
            (address(Field::SourceAddress, 7), true),
            (address(Field::SourceAddress, 8), false),
            (address(Field::NextHop, 8), true),
            (
                Filter::Any(vec![
                    address(Field::SourceAddress, 8),
                    address(Field::DestinationAddress, 7),
                ]),
                true,
            ),
            (
                address(Field::SourceAddress, 7).and(time(Comparison::Less, 10)),
                false,
            ),
        ] {
            assert_eq!(may_hold(&filter, &file), expected, "{filter:?}");
        }
    }

    #[test]
    fn an_exporter_is_left_out_only_if_no_flow_of_it_can_fit() {
        let then = time(Comparison::Less, 10);
        let of = |exporter: u128| address(Field::Exporter, exporter);
        let not = |filter: Filter| Filter::Not(Box::new(filter));
        let host = address(Field::SourceAddress, 8);
        for (filter, may_be, is_only) in [
            (Filter::everything(), true, true),
            (then.clone(), true, true),
            (of(7).and(then.clone()), true, true),
            (of(8).and(then), false, true),
            (not(of(7)), false, true),
            (not(of(8)), true, true),
            (Filter::Any(vec![of(8), host.clone()]), true, false),
            (host, true, false),
        ] {
            assert_eq!(may_be_of(&filter, 7), may_be, "{filter:?}");
            assert_eq!(is_of_times_and_exporters(&filter), is_only, "{filter:?}");
        }
    }

    #[test]
    fn the_stretch_of_a_filter_is_what_all_its_parts_allow() {
        let from = time(Comparison::GreaterOrEqual, 5);
        let to = time(Comparison::Less, 9);
        assert_eq!(
            stretch_ns(&from.clone().and(to.clone())),
            (Some(5_000_000), Some(9_000_000))
        );
        let either = Filter::Any(vec![from.clone(), time(Comparison::Greater, 3)]);
        assert_eq!(stretch_ns(&either), (Some(3_000_000), None));
        assert_eq!(
            stretch_ns(&Filter::Any(vec![from, to.clone()])),
            (None, None)
        );
        assert_eq!(stretch_ns(&Filter::Not(Box::new(to))), (None, None));
        assert_eq!(stretch_ns(&Filter::everything()), (None, None));
    }
}
