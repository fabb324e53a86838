"""``python -m src.report.sweep DIR``."""

from src.report.sweep.summary import main

if __name__ == "__main__":
    main()
