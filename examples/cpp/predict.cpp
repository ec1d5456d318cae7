// Runs DIR/model.onnx of a detector or a segmentor, as tools/export.py --preprocess inside wrote it,
// on a PPM image, with onnxruntime's C++ interface and no other library.
//
//   g++ -std=c++17 -O2 -I/usr/include/onnxruntime predict.cpp -o predict -lonnxruntime
//   ./predict DIR/model.onnx image.ppm 0.3
//
// A detector's objects are printed one a line: class, score, x1 y1 x2 y2 in pixels of the image; of
// a segmentor, each class that is there and its number of pixels. A file for images of one size
// takes images of that size alone: resizing them is the caller's.
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include <onnxruntime_cxx_api.h>

namespace {

struct Image {
  int64_t height, width;
  std::vector<uint8_t> rgb;  // height x width x 3
};

int64_t next_number(std::istream& file) {
  while ((file >> std::ws).peek() == '#') file.ignore(1 << 20, '\n');
  int64_t number = 0;
  if (!(file >> number)) throw std::runtime_error("the image is no binary PPM (P6)");
  return number;
}

Image read_ppm(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string magic;
  if (!(file >> magic) || magic != "P6") throw std::runtime_error(path + " is no binary PPM (P6)");
  Image image;
  image.width = next_number(file);
  image.height = next_number(file);
  const int64_t largest = next_number(file);
  file.get();
  if (image.width < 1 || image.height < 1 || image.width > 16384 || image.height > 16384 ||
      largest != 255) {
    throw std::runtime_error(path + ": expected 1 to 16384 pixels a side, of 8 bits");
  }
  image.rgb.resize(image.height * image.width * 3);
  file.read(reinterpret_cast<char*>(image.rgb.data()), image.rgb.size());
  if (file.gcount() != static_cast<std::streamsize>(image.rgb.size())) {
    throw std::runtime_error(path + " is cut short");
  }
  return image;
}

void print_objects(const std::map<std::string, Ort::Value*>& found, float threshold) {
  const float* boxes = found.at("boxes")->GetTensorData<float>();
  const float* scores = found.at("scores")->GetTensorData<float>();
  const int64_t* labels = found.at("labels")->GetTensorData<int64_t>();
  const int64_t count = found.at("scores")->GetTensorTypeAndShapeInfo().GetShape()[0];
  for (int64_t i = 0; i < count; ++i) {
    if (scores[i] < threshold) continue;
    std::cout << labels[i] << ' ' << scores[i];
    for (int side = 0; side < 4; ++side) std::cout << ' ' << boxes[4 * i + side];
    std::cout << '\n';
  }
}

void print_classes(Ort::Value& label_map) {
  const auto info = label_map.GetTensorTypeAndShapeInfo();
  const bool bytes = info.GetElementType() == ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8;
  std::map<int64_t, int64_t> pixels;
  for (size_t i = 0; i < info.GetElementCount(); ++i) {
    ++pixels[bytes ? label_map.GetTensorData<uint8_t>()[i] : label_map.GetTensorData<int64_t>()[i]];
  }
  for (const auto& [label, count] : pixels) std::cout << label << ' ' << count << '\n';
}

void predict(const std::string& model, const std::string& path, float threshold) {
  Image image = read_ppm(path);
  Ort::Env environment(ORT_LOGGING_LEVEL_ERROR, "predict");
  Ort::Session session(environment, model.c_str(), Ort::SessionOptions());
  Ort::AllocatorWithDefaultOptions allocator;
  std::vector<std::string> inputs, outputs;
  for (size_t i = 0; i < session.GetInputCount(); ++i) {
    inputs.emplace_back(session.GetInputNameAllocated(i, allocator).get());
  }
  for (size_t i = 0; i < session.GetOutputCount(); ++i) {
    outputs.emplace_back(session.GetOutputNameAllocated(i, allocator).get());
  }

  const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  const std::vector<int64_t> shape{1, image.height, image.width, 3}, shape_of_size{2};
  std::vector<int64_t> size{image.height, image.width};
  std::vector<Ort::Value> values;
  std::vector<const char*> input_names, output_names;
  for (const std::string& name : inputs) {
    input_names.push_back(name.c_str());
    if (name == "size") {  // of the label map
      values.push_back(Ort::Value::CreateTensor<int64_t>(memory, size.data(), size.size(),
                                                         shape_of_size.data(), 1));
    } else {
      values.push_back(Ort::Value::CreateTensor<uint8_t>(memory, image.rgb.data(),
                                                         image.rgb.size(), shape.data(), 4));
    }
  }
  for (const std::string& name : outputs) output_names.push_back(name.c_str());
  std::vector<Ort::Value> results =
      session.Run(Ort::RunOptions{nullptr}, input_names.data(), values.data(), values.size(),
                  output_names.data(), output_names.size());

  std::map<std::string, Ort::Value*> found;
  for (size_t i = 0; i < outputs.size(); ++i) found[outputs[i]] = &results[i];
  if (found.count("boxes")) {
    print_objects(found, threshold);
  } else if (found.count("label_map")) {
    print_classes(*found["label_map"]);
  } else {
    throw std::runtime_error("the model is a backbone, which finds nothing by itself");
  }
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 3 || count > 4) {
    std::cerr << "usage: predict MODEL.onnx IMAGE.ppm [SCORE]\n";
    return 2;
  }
  try {
    predict(arguments[1], arguments[2], count == 4 ? std::strtof(arguments[3], nullptr) : 0.3f);
  } catch (const std::exception& error) {  // onnxruntime's are such too
    std::cerr << "error: " << error.what() << '\n';
    return 1;
  }
}
