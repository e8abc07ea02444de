//! flow-stat's and flow-print's command lines as Weir's. These programs read a stream that `flow-cat`
//! writes; here `-r DIR` says where the flows are, and a filter may stand behind.

use super::getopt;

/// flow-print's formats as tokens, by number; a number without tokens has a sentence.
const FORMATS: [(u32, Result<&str, &str>); 25] = [
    (0, Ok("fmt:%in %sa %out %da %pr %sp %dp %pkt %byt")),
    (
        1,
        Ok("fmt:%in %sa %out %da %pr %sp %dp %pkt %byt%n  %ts %te %td %flg %tos %bpp"),
    ),
    (
        2,
        Err(
            "it picks what may be SYN attacks: `weir scans` finds them, and `weir flow-print -f1 'flags S and not flags A'` prints them",
        ),
    ),
    (3, Ok("fmt:%sa %da %pr %sp %dp %byt %pkt")),
    (4, Ok("fmt:%sa %da %pr %sas %das %byt %pkt")),
    (
        5,
        Ok("fmt:%ts %te %in %sa %sp %out %da %dp %pr %flg %pkt %byt"),
    ),
    (6, Ok("fmt:%sa %da %pkt %byt")),
    (
        7,
        Ok("fmt:%ts %te %in %sa %sp %out %da %dp %pr %flg %pkt %byt %ra"),
    ),
    (8, Err("Weir's flows tell no encapsulation: use -f7")),
    (9, Err("Weir's flows carry no tags: use -f5")),
    (10, Err("use `weir group --by srcas,dstas,inif,outif`")),
    (11, Err("use `weir group --by proto,srcport,dstport`")),
    (12, Err("use `weir group --by srcnet,srcmask,srcas,inif`")),
    (13, Err("use `weir group --by dstnet,dstmask,dstas,outif`")),
    (
        14,
        Err("use `weir group --by srcnet,dstnet,srcmask,dstmask,inif,outif`"),
    ),
    (15, Err("use `weir group --by dstip`")),
    (16, Err("use `weir group --by srcip,dstip`")),
    (17, Err("use `weir group`, whose default is the whole key")),
    (18, Err("use `weir group --by tos,srcas,dstas,inif,outif`")),
    (
        19,
        Err("use `weir group --by tos,proto,srcport,dstport,inif,outif`"),
    ),
    (
        20,
        Err("use `weir group --by tos,srcnet,srcmask,srcas,inif`"),
    ),
    (
        21,
        Err("use `weir group --by tos,dstnet,dstmask,dstas,outif`"),
    ),
    (
        22,
        Err("use `weir group --by tos,srcnet,dstnet,inif,outif`"),
    ),
    (
        23,
        Err("use `weir group --by proto,tos,srcnet,dstnet,srcport,dstport,inif,outif`"),
    ),
    (24, Err("use `weir group`, whose default is the whole key")),
];

/// flow-stat's words as `weir stat`'s.
///
/// # Errors
/// A sentence that says what to use instead.
pub fn stat(words: &[String]) -> Result<Vec<String>, String> {
    let parsed = getopt::parse("flow-stat", "r:f:s:S:t:T:npPwhd:", words)?;
    let mut report = "0".to_owned();
    let mut native = Vec::new();
    let mut folder = None;
    for (letter, argument) in parsed.options {
        match letter {
            'r' => folder = Some(argument),
            'f' => report = argument,
            's' | 'S' => native.extend([format!("-{letter}"), argument]),
            'P' => native.push("-P".to_owned()),
            // Names are there anyway, lines as long as need be, and a heading at the end.
            'n' | 'p' | 'w' => {}
            't' => {
                return Err(
                    "-t tallies while it reads: `weir stat -n N` shows the first N lines"
                        .to_owned(),
                );
            }
            'T' => {
                return Err(
                    "-T is a title for the heading, which Weir's answers have not: leave it out"
                        .to_owned(),
                );
            }
            _ => return Err(usage("flow-stat -f9 -S2")),
        }
    }
    let mut command = vec!["stat".to_owned(), report];
    command.extend(native);
    finish(command, folder, parsed.operands, "flow-stat -f9 -S2")
}

/// flow-print's words as `weir flows`'.
///
/// # Errors
/// A sentence that says what to use instead.
pub fn print(words: &[String]) -> Result<Vec<String>, String> {
    let parsed = getopt::parse("flow-print", "r:f:lnpwhd:", words)?;
    let (mut number, mut folder) = ("0".to_owned(), None);
    for (letter, argument) in parsed.options {
        match letter {
            'r' => folder = Some(argument),
            'f' => number = argument,
            'l' | 'n' | 'p' | 'w' => {}
            _ => return Err(usage("flow-print -f5")),
        }
    }
    let known = FORMATS
        .iter()
        .find(|(known, _)| known.to_string() == number);
    let (_, tokens) =
        known.ok_or_else(|| format!("flow-print has formats 0 to 24, and no -f{number}"))?;
    let tokens = tokens.map_err(|says| format!("-f{number}: {says}"))?;
    let command = vec!["flows".to_owned(), "-o".to_owned(), tokens.to_owned()];
    finish(command, folder, parsed.operands, "flow-print -f5")
}

fn finish(
    mut command: Vec<String>,
    folder: Option<String>,
    operands: Vec<String>,
    example: &str,
) -> Result<Vec<String>, String> {
    let folder = folder.ok_or_else(|| usage(example))?;
    command.extend(["-r".to_owned(), folder]);
    command.extend(operands);
    Ok(command)
}

fn usage(example: &str) -> String {
    format!(
        "say where the flows are, and which: `weir {example} -r DIR 'FILTER'`; --native prints Weir's own command"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn flow_tools_words_have_native_ones() {
        for (line, expected) in [
            ("-f9 -S2 -r /f", "stat 9 -S 2 -r /f"),
            (
                "-n -P -p -w -f 10 -s3 -r /f tcp",
                "stat 10 -P -s 3 -r /f tcp",
            ),
            ("-r /f", "stat 0 -r /f"),
        ] {
            assert_eq!(stat(&words(line)).unwrap().join(" "), expected);
        }
        let printed = print(&words("-f3 -n -r /f src port 80")).unwrap().join(" ");
        assert_eq!(
            printed,
            "flows -o fmt:%sa %da %pr %sp %dp %byt %pkt -r /f src port 80"
        );
        for (line, says) in [
            ("-f5", "-r DIR"),
            ("-f9 -r /f", "no tags"),
            ("-f10 -r /f", "weir group --by srcas,dstas"),
            ("-f25 -r /f", "0 to 24"),
            ("-fx -r /f", "no -fx"),
            ("-h", "flow-print -f5"),
        ] {
            let refused = print(&words(line)).unwrap_err();
            assert!(refused.contains(says), "{line}: {refused}");
        }
        assert!(
            stat(&words("-T x -r /f"))
                .unwrap_err()
                .contains("leave it out")
        );
    }

    #[test]
    fn every_format_is_one_that_weir_has() {
        for (at, (number, tokens)) in FORMATS.iter().enumerate() {
            assert_eq!(u32::try_from(at), Ok(*number));
            if let Ok(tokens) = tokens {
                assert!(crate::format::Format::parse(tokens).is_ok(), "{tokens}");
            }
        }
    }
}
