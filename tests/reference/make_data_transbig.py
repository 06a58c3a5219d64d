"""Writes transbig.csv from scikit-survival's packaged data set (sksurv.datasets.load_breast_cancer).

signature = mean of the sign-oriented z-scores of the five genes whose concordance with
distant-metastasis-free survival in the primary split is furthest from 0.5 (z-scores use the primary
mean and standard deviation), so it is over-fitted to the primary split on purpose.
"""

import numpy as np
import pandas as pd
from sksurv.datasets import load_breast_cancer
from sksurv.metrics import concordance_index_censored

X, y = load_breast_cancer()
genes = [c for c in X.columns if c.startswith("X2")]
grade = X["grade"].astype(str).map({"well differentiated": 1, "intermediate": 2, "poorly differentiated": 3})
d = pd.DataFrame(
    {
        "id": np.arange(1, len(X) + 1),
        "time": np.round(y["t.tdm"] / 30.4375, 10),  # days -> months
        "event": y["e.tdm"].astype(int),
        "age": X["age"].to_numpy(),
        "size": X["size"].to_numpy(),
        "grade": grade.to_numpy(),
        "er": (X["er"].astype(str) == "positive").astype(int).to_numpy(),
    }
)
d["split"] = (d["id"] % 3 == 0).astype(int)  # id divisible by 3 = validation
prim = (d["split"] == 0).to_numpy()
G = X[genes].to_numpy(float)
Z = (G - G[prim].mean(0)) / G[prim].std(0, ddof=1)
c = np.array([concordance_index_censored(y["e.tdm"][prim], y["t.tdm"][prim], Z[prim, j])[0] for j in range(Z.shape[1])])
top = np.argsort(-np.abs(c - 0.5), kind="stable")[:5]
print("genes:", [(genes[j], round(float(c[j]), 3)) for j in top])
d["signature"] = np.round((Z[:, top] * np.sign(c[top] - 0.5)).mean(1), 8)
Gs = (G - G.mean(0)) / G.std(0, ddof=1)
u, s, vt = np.linalg.svd(Gs, full_matrices=False)
pc1 = u[:, 0] * s[0]
pc1 *= np.sign(0.5 - concordance_index_censored(y["e.tdm"], y["t.tdm"], -pc1)[0])  # higher = earlier time
d["pc1"] = np.round(pc1, 8)
d = d.dropna().copy()
d["grade"] = d["grade"].astype(int)
first = ["id", "split", "time", "event"]
d = d[first + [c for c in d.columns if c not in first]]
d.to_csv("transbig.csv", index=False, float_format="%.15g")
