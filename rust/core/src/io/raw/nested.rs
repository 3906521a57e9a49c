use arrow::array::{Array, ArrayRef, AsArray, StringArray, StructArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;

use super::value::{CONTENT_NAMES, ROLE_NAMES, Speaker, Turn};

/// Dialogues of a column of lists of `{role, content}`.
pub fn turns(array: &ArrayRef) -> Result<Vec<Option<Vec<Turn<'static>>>>, String> {
    let lists = match array.data_type() {
        DataType::LargeList(item) => {
            cast(array, &DataType::List(item.clone())).map_err(|error| error.to_string())?
        }
        _ => array.clone(),
    };
    let lists = lists.as_list::<i32>();
    let items = lists.values().as_struct_opt().ok_or("a list of something else than turns")?;
    let (roles, contents) = (text(items, &ROLE_NAMES)?, text(items, &CONTENT_NAMES)?);
    let turn = |i: usize| Turn {
        speaker: Speaker::named(roles.value(i)),
        text: contents.value(i).to_owned().into(),
    };
    let offsets = lists.value_offsets();
    let dialogue = |row: usize| (offsets[row] as usize..offsets[row + 1] as usize).map(turn).collect();
    Ok((0..lists.len()).map(|row| lists.is_valid(row).then(|| dialogue(row))).collect())
}

fn text(items: &StructArray, names: &[&str]) -> Result<StringArray, String> {
    let column = names.iter().find_map(|name| items.column_by_name(name));
    let column = column.ok_or_else(|| format!("turns without a field {}", names.join(" or ")))?;
    let column = cast(column, &DataType::Utf8).map_err(|error| error.to_string())?;
    Ok(column.as_string::<i32>().clone())
}
