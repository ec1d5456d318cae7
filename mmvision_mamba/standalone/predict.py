"""Predict with the exported model in this folder; NumPy, Pillow and onnxruntime are all it needs.

python predict.py IMAGE... --out OUT writes what tools/predict.py of mmvision_mamba writes;
python predict.py --verify holds the model against what it gave when it was exported.
"""

from pathlib import Path

from standalone.command import main

if __name__ == '__main__':
    main(Path(__file__).resolve().parent, __doc__)
