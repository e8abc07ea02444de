//! Weir's collector: takes datagrams from any exporter ([`receive`]), decodes them with the
//! exporter's templates ([`exporters`]), counts exactly what was lost on the way ([`loss`]), and
//! writes windows of flat files ([`writer`]). It links no aya and looks at no packet.

pub mod clock;
pub mod exporters;
pub mod loss;
pub mod options;
pub mod receive;
pub mod statistics;
pub mod writer;
