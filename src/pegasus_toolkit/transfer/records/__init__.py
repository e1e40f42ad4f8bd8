"""What a run leaves behind: report, journal, statistics, receipts."""
