#!/bin/bash -eu
# What OSS-Fuzz runs, in its container, to build the fuzzers into $OUT. CC, CFLAGS, LIB_FUZZING_ENGINE are its own.
cd "$SRC/fastlstm"

# C: the reader of flat weight files, and whatever a plan of one computes
cmake -S . -B "$WORK/c" -G Ninja -DCMAKE_C_COMPILER="$CC" -DCMAKE_C_FLAGS="$CFLAGS" -DFASTLSTM_INSTALL=OFF
cmake --build "$WORK/c" --target fastlstm
$CC $CFLAGS -I csrc -c tests/native/fuzz_weight_file.c -o "$WORK/weight_file.o"
$CXX ${CXXFLAGS:-} "$WORK/weight_file.o" "$WORK/c/libfastlstm.a" ${LIB_FUZZING_ENGINE} -lm -pthread \
  -o "$OUT/weight_file_fuzzer"

# Python: the readers of all other formats
python3 -m pip install . pytest h5py msgpack onnx
python3 packaging/fuzz/corpus.py "$WORK/corpus"
(cd "$WORK/corpus" && zip -q "$OUT/files_fuzzer_seed_corpus.zip" ./* && zip -q "$OUT/weight_file_fuzzer_seed_corpus.zip" ./*.flw)
compile_python_fuzzer packaging/fuzz/files_fuzzer.py --collect-submodules fastlstm
