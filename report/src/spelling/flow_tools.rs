//! flow-stat's, flow-print's and flow-dscan's command lines as Weir's. These programs read a stream that
//! `flow-cat` writes; here `-r DIR` says where the flows are, and a filter may stand behind.

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
    (
        9,
        Err(
            "Weir's flows carry no tags: names of prefixes (--names FILE) stand in for them in `weir flow-stat -f30`; to print flows use -f5",
        ),
    ),
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

/// flow-dscan's words as `weir scans`'. It alerts whoever tries so many, answered or not; what it remembers between
/// streams (-s, -l, -p, -t) is in Weir's files, and where it runs and speaks (-b, -d) is no question.
///
/// # Errors
/// A sentence that says what to use instead.
pub fn dscan(words: &[String]) -> Result<Vec<String>, String> {
    let parsed = getopt::parse("flow-dscan", "r:bBd:D:hi:I:lL:mO:pP:s:S:t:T:wW", words)?;
    let mut command: Vec<String> = ["scans", "--bare", "0"].map(str::to_owned).to_vec();
    let mut folder = None;
    let mut conditions = Vec::new();
    for (letter, argument) in parsed.options {
        match letter {
            'r' => folder = Some(argument),
            'D' => command.extend(["--hosts".to_owned(), argument]),
            'S' => command.extend(["--ports".to_owned(), argument]),
            'i' | 'I' => {
                let side = if letter == 'i' { "in" } else { "out" };
                conditions.push(format!("{side} if in [{}]", argument.replace(',', " ")));
            }
            'm' => conditions.push("not dst net 224.0.0.0/4".to_owned()),
            'w' => conditions.push("not (tcp and src port 80 and dst port > 1023)".to_owned()),
            'W' => conditions.push("not (tcp and dst port 80 and src port > 1023)".to_owned()),
            'b' | 'd' | 'l' | 'p' | 's' | 't' => {}
            'B' => {
                return Err(
                    "-B tells syslog: say `weir scans … | logger`, or `weir signature … --live`"
                        .to_owned(),
                );
            }
            'L' => {
                return Err(
                    "-L reads lists of its own: write the addresses into /etc/weir/sets/NAME, and say `weir scans \
                     --ignore @NAME`"
                        .to_owned(),
                );
            }
            'O' | 'P' | 'T' => {
                let (counter, unit) = match letter {
                    'O' => ("bytes", ""),
                    'P' => ("packets", ""),
                    _ => ("duration", "s"),
                };
                return Err(format!(
                    "-{letter} is about single flows: `weir flows '{counter} > {argument}{unit}'` shows them"
                ));
            }
            _ => return Err(usage("flow-dscan -D64 -S64")),
        }
    }
    let own = parsed.operands.join(" ");
    if !own.is_empty() {
        // A comment would swallow what comes behind it.
        conditions.push(format!("({own}\n)"));
    }
    let filter = conditions.join(" and ");
    let operands = if filter.is_empty() {
        Vec::new()
    } else {
        vec![filter]
    };
    finish(command, folder, operands, "flow-dscan -D64 -S64")
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
    fn flow_dscans_words_have_native_ones() {
        for (line, expected) in [
            (
                "-b -m -W -s state -p -l -r /f",
                "scans --bare 0 -r /f not dst net 224.0.0.0/4 and not (tcp and dst port 80 and src port > 1023)",
            ),
            (
                "-D 10 -S20 -t 90000 -r /f",
                "scans --bare 0 --hosts 10 --ports 20 -r /f",
            ),
            (
                "-i1,2 -w -r /f last 1h",
                "scans --bare 0 -r /f in if in [1 2] and not (tcp and src port 80 and dst port > 1023) and (last 1h\n)",
            ),
        ] {
            let native = dscan(&words(line)).unwrap();
            assert_eq!(native.join(" "), expected, "{line}");
            let words = ["weir".to_owned()].into_iter().chain(native);
            let parsed = <crate::Options as clap::Parser>::try_parse_from(words);
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        }
        for (line, says) in [
            ("-b", "-r DIR"),
            ("-B -r /f", "logger"),
            ("-L suppress -r /f", "--ignore @NAME"),
            ("-O 1000 -r /f", "bytes > 1000"),
            ("-T 60 -r /f", "duration > 60s"),
            ("-x -r /f", "no option -x"),
        ] {
            let refused = dscan(&words(line)).unwrap_err();
            assert!(refused.contains(says), "{line}: {refused}");
        }
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
