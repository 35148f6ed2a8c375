import os

# so that small layers share their work, too: before fastlstm is imported, here and in the processes that tests start
os.environ.setdefault("FASTLSTM_ALL_THREADS", "1")
