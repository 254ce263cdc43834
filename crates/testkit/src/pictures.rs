//! Small images in every format that prompts accept, and their form in requests. The images were made with common programs, and a
//! model must get exactly these bytes.

use model::image::{GivenImage, ImageBytes};
use scripted_model::ScriptedModel;
use serde_json::Value;

/// A PNG of 8 by 6 pixels.
pub const PNG: &[u8] = include_bytes!("../fixtures/dot.png");
/// A JPEG of 8 by 6 pixels.
pub const JPEG: &[u8] = include_bytes!("../fixtures/dot.jpg");
/// A GIF of one pixel.
pub const GIF: &[u8] = include_bytes!("../fixtures/dot.gif");
/// A WebP of one pixel.
pub const WEBP: &[u8] = include_bytes!("../fixtures/dot.webp");

/// Returns an image in the format of the API.
pub fn given(name: &str, bytes: &[u8]) -> Value {
    let image = GivenImage { name: name.to_owned(), data: ImageBytes(bytes.to_vec()) };
    serde_json::to_value(image).expect("an image can be converted to JSON")
}

/// Returns an image in the format of a request to a model.
pub fn data_url(kind: &str, bytes: &[u8]) -> String {
    let text = given("", bytes);
    format!("data:{kind};base64,{}", text["data"].as_str().expect("Base64 is text"))
}

/// Returns the images of all messages in the last request to a model.
///
/// # Panics
/// If the model got no request.
pub fn shown(model: &ScriptedModel) -> Vec<String> {
    let asked = model.requests().into_iter().rev().find(|request| request.method == "POST").expect("the model was asked");
    let messages = asked.body["input"].as_array().into_iter().flatten();
    let parts = messages.flat_map(|message| message["content"].as_array().into_iter().flatten());
    let images = parts.filter(|part| part["type"] == "input_image");
    images.filter_map(|image| image["image_url"].as_str().map(str::to_owned)).collect()
}

/// Returns a PNG of this length. The added bytes follow the end of the image and are ignored.
pub fn png_of(length: usize) -> Vec<u8> {
    let mut bytes = PNG.to_vec();
    bytes.resize(length.max(PNG.len()), 0);
    bytes
}
