//! What the scripts in `packaging/test` print of each check, and what comes of it. They run where no program of
//! the tests is, so a line of text it is: `weir-test: ok NAME`, `weir-test: FAILED NAME: WHY`, and at the end
//! `weir-test: end N`, which says how many checks there were.

/// How a part of the test went.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// So many checks, all of them well.
    Passed(usize),
    /// A sentence: what could not be had.
    Skipped(String),
    /// A sentence each.
    Failed(Vec<String>),
}

const MARK: &str = "weir-test: ";

/// Judges by what a script printed, among whatever else is on a console.
pub fn judge(text: &str) -> Outcome {
    let mut passed = 0;
    let mut failures = Vec::new();
    let mut announced = None;
    for line in text.lines() {
        let Some((_, said)) = line.split_once(MARK) else {
            continue;
        };
        let said = said.trim_end();
        if said.starts_with("ok ") {
            passed += 1;
        } else if let Some(count) = said.strip_prefix("end ") {
            announced = count.parse().ok();
        } else if let Some(failure) = said.strip_prefix("FAILED ") {
            failures.push(failure.to_owned());
        }
    }
    match announced {
        None => failures.push(format!("it did not come to its end, after {passed} checks")),
        Some(count) if count != passed + failures.len() => failures.push(format!(
            "{count} checks were made, {passed} were well, and of the rest not all can be read"
        )),
        Some(0) => failures.push("nothing was checked".to_owned()),
        Some(_) => {}
    }
    if failures.is_empty() {
        Outcome::Passed(passed)
    } else {
        Outcome::Failed(failures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_must_be_there_and_well() {
        let passed = "noise\r\n[ 1.0] weir-test: ok a\r\nweir-test: ok b c\r\nweir-test: end 2\r\n";
        assert_eq!(judge(passed), Outcome::Passed(2));
        for wrong in [
            "",
            "weir-test: ok a\n",
            "weir-test: end 0\n",
            "weir-test: ok a\nweir-test: end 2\n",
            "weir-test: FAILED a: 1 is not 2\nweir-test: end 1\n",
        ] {
            assert!(matches!(judge(wrong), Outcome::Failed(_)), "{wrong}");
        }
    }
}
