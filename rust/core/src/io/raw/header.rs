/// The fields of a CSV file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Fields of a record.
    pub fields: usize,
    /// Number of each wanted field.
    pub wanted: Vec<usize>,
    /// The first record holds names, not values.
    pub named: bool,
}

/// The records of a CSV text, as the reader hands them out.
pub fn csv_reader(bytes: &[u8], separator: u8) -> csv::Reader<&[u8]> {
    csv::ReaderBuilder::new().has_headers(false).flexible(true).delimiter(separator).from_reader(bytes)
}
