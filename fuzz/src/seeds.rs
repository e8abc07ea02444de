//! Writes valid inputs for each target into `fuzz/corpus`, for a fuzzer to begin with.

use std::{fs, io, path::Path};

use weir_fuzz::inputs;
use weir_tests::{
    filters::{self, Dialect},
    traffic::Random,
};

const FILTERS: usize = 200;

fn main() -> io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    fs::create_dir_all(&corpus)?;
    // The whole, since data sets want their templates, and each by itself.
    let framed = |datagrams: Vec<Vec<u8>>| -> Vec<Vec<u8>> {
        let each = datagrams
            .iter()
            .map(|one| inputs::framed(std::slice::from_ref(one)));
        each.chain([inputs::framed(&datagrams)]).collect()
    };
    let mut random = Random::new(1);
    let filters = (0..FILTERS).map(|_| filters::filter(&mut random, Dialect::Weir).into_bytes());
    let filters = filters.collect();
    for (target, seeds) in [
        ("packet", inputs::frames()),
        ("netflow_fixed", framed(inputs::fixed())),
        ("netflow_v9", framed(inputs::v9())),
        ("ipfix", framed(inputs::ipfix())),
        ("ipfix_stream", vec![inputs::ipfix().concat()]),
        ("sflow", framed(inputs::sflow())),
        ("window", made(inputs::windows)?),
        ("closed", made(inputs::closed)?),
        ("archive", made(inputs::archives)?),
        ("capture", inputs::captures()),
        ("filter", filters),
    ] {
        let folder = corpus.join(target);
        fs::create_dir_all(&folder)?;
        for (number, seed) in seeds.iter().enumerate() {
            fs::write(folder.join(format!("seed-{number}")), seed)?;
        }
        println!("{}: {} seeds", folder.display(), seeds.len());
    }
    Ok(())
}

/// What is made in a folder, which is not there before and not after.
fn made(inputs: fn(&Path) -> Vec<Vec<u8>>) -> io::Result<Vec<Vec<u8>>> {
    let folder = weir_fuzz::file();
    fs::create_dir(&folder)?;
    let made = inputs(&folder);
    fs::remove_dir_all(&folder)?;
    Ok(made)
}
