//! Pages of a column that zstd compressed, unpacked by a context that stays with its thread. The parquet crate makes
//! one to unpack and one to pack for each column of each row group, which takes longer than to unpack most of them.

use std::{cell::RefCell, collections::VecDeque};

use bytes::Bytes;
use parquet::{
    column::page::{Page, PageMetadata, PageReader},
    errors::{ParquetError, Result},
};
use zstd::bulk::Decompressor;

thread_local! {
    static CONTEXT: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// The pages of a reader that hands them over as they are in the file.
pub struct Unpacked<P> {
    pages: P,
    /// What each of those that are left expands to, octets.
    expanded: VecDeque<usize>,
}

impl<P> Unpacked<P> {
    /// Of pages that expand to so many octets each.
    pub fn new(pages: P, expanded: VecDeque<usize>) -> Self {
        Self { pages, expanded }
    }
}

impl<P: PageReader> Iterator for Unpacked<P> {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl<P: PageReader> PageReader for Unpacked<P> {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let Some(page) = self.pages.get_next_page()? else {
            return Ok(None);
        };
        let octets = self.expanded.pop_front();
        let octets = octets.ok_or_else(|| damaged("there are more pages than were looked at"))?;
        unpacked(page, octets).map(Some)
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.pages.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.expanded.pop_front();
        self.pages.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> Result<bool> {
        self.pages.at_record_boundary()
    }
}

fn damaged(why: &str) -> ParquetError {
    ParquetError::General(why.to_owned())
}

fn unpacked(mut page: Page, octets: usize) -> Result<Page> {
    match &mut page {
        Page::DataPage { buf, .. } | Page::DictionaryPage { buf, .. } => {
            *buf = Bytes::from(expand(buf, octets)?);
        }
        // Our writer makes none; levels stand before what is compressed, if that is.
        Page::DataPageV2 {
            buf,
            def_levels_byte_len,
            rep_levels_byte_len,
            is_compressed: true,
            ..
        } => {
            let levels = u64::from(*def_levels_byte_len) + u64::from(*rep_levels_byte_len);
            let levels = usize::try_from(levels).unwrap_or(usize::MAX);
            let (Some((levels, packed)), Some(left)) =
                (buf.split_at_checked(levels), octets.checked_sub(levels))
            else {
                return Err(damaged("a page's levels go beyond it"));
            };
            let whole = [levels, &expand(packed, left)?[..]].concat();
            *buf = Bytes::from(whole);
        }
        Page::DataPageV2 { .. } => {}
    }
    Ok(page)
}

/// What expands to so many octets, no more and no fewer.
fn expand(packed: &[u8], octets: usize) -> Result<Vec<u8>> {
    // A page without a value may have nothing that is compressed.
    if octets == 0 {
        return Ok(Vec::new());
    }
    let external = |error: std::io::Error| ParquetError::External(error.into());
    let expanded = CONTEXT.with_borrow_mut(|context| {
        let context = match context {
            Some(context) => context,
            none => none.insert(Decompressor::new().map_err(external)?),
        };
        context.decompress(packed, octets).map_err(external)
    })?;
    if expanded.len() != octets {
        return Err(damaged("a page does not expand to what it claims"));
    }
    Ok(expanded)
}

#[cfg(test)]
mod tests {
    use arrow::{array::RecordBatch, compute::concat_batches};
    use parquet::{
        arrow::arrow_reader::{RowSelection, RowSelector},
        basic::Encoding,
    };
    use weir_netflow::FlowRecord;

    use super::*;
    use crate::{
        closed::ClosedWriter,
        footer::Opened,
        row_groups::Wanted,
        schema::{self, StoredFlow},
    };

    fn packed(octets: &[u8]) -> Vec<u8> {
        zstd::bulk::compress(octets, 1).unwrap()
    }

    #[test]
    fn pages_expand_to_what_they_claim_or_are_damaged() {
        let text = b"the same and the same and the same".repeat(100);
        let whole = packed(&text);
        assert_eq!(expand(&whole, text.len()).unwrap(), text);
        assert_eq!(expand(&[], 0).unwrap(), b"");
        for octets in [1, text.len() - 1, text.len() + 1] {
            expand(&whole, octets).unwrap_err();
        }
        expand(&whole[..whole.len() - 1], text.len()).unwrap_err();
        expand(b"none", 4).unwrap_err();
        // The context is as good as before.
        assert_eq!(expand(&whole, text.len()).unwrap(), text);
    }

    #[test]
    fn levels_of_a_page_of_the_second_kind_stand_as_they_are() {
        let page = |levels: u32, is_compressed| Page::DataPageV2 {
            buf: [b"levels".to_vec(), packed(b"values")].concat().into(),
            num_values: 6,
            encoding: Encoding::PLAIN,
            num_nulls: 0,
            num_rows: 6,
            def_levels_byte_len: levels,
            rep_levels_byte_len: 2,
            is_compressed,
            statistics: None,
        };
        let unpacked_page = unpacked(page(4, true), 12).unwrap();
        assert_eq!(&unpacked_page.buffer()[..], b"levelsvalues");
        let as_it_is = unpacked(page(4, false), 12).unwrap();
        assert_eq!(as_it_is.buffer(), page(4, false).buffer());
        assert!(unpacked(page(u32::MAX, true), 12).is_err());
        assert!(unpacked(page(4, true), 5).is_err());
    }

    /// Of a row group with two pages a column, whole, and with the first one passed by.
    #[test]
    fn rows_are_what_was_written_also_behind_pages_that_are_passed_by() {
        const ROWS: usize = 100_000;
        const SKIPPED: usize = 70_000;
        let flow = |number: usize| StoredFlow {
            record: FlowRecord {
                packets: number as u64 % 1000,
                source_port: u16::try_from(number % 50_000).unwrap(),
                ..FlowRecord::default()
            },
            ..StoredFlow::default()
        };
        let flows: Vec<_> = (0..ROWS).map(flow).collect();
        let rows = schema::batch(&flows).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("flows.parquet");
        let mut writer = ClosedWriter::create(&path, &[]).unwrap();
        writer.write(&rows).unwrap();
        writer.finish().unwrap();
        let opened = Opened::open(&path).unwrap();
        let read = |selection| {
            let batches = opened.batches(0, &mut Wanted::all(), 8192, selection);
            let batches: Vec<RecordBatch> = batches.unwrap().map(Result::unwrap).collect();
            concat_batches(&schema::schema(), &batches).unwrap()
        };
        assert!(read(None) == rows);
        let behind = [
            RowSelector::skip(SKIPPED),
            RowSelector::select(ROWS - SKIPPED),
        ];
        let behind = RowSelection::from(behind.to_vec());
        assert!(read(Some(behind)) == rows.slice(SKIPPED, ROWS - SKIPPED));
    }
}
