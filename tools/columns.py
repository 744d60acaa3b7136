"""Write docs/columns.md from `cyborg_utils/study/columns.yaml`."""

from cyborg_utils.core import atomic, paths
from cyborg_utils.study import columns

if __name__ == "__main__":
    print(paths.shown(atomic.write(paths.CHECKOUT / "docs" / "columns.md", columns.page())))
