import os,sys,time,runpy
t0=time.time(); c0=os.times()
try:
    if os.environ.get("PROF"):
        import cProfile,pstats
        pr=cProfile.Profile(); pr.enable()
    runpy.run_module(sys.argv[1], run_name="__main__", alter_sys=True) if False else None
    sys.argv=sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
except SystemExit: pass
finally:
    if os.environ.get("PROF"):
        pr.disable(); pstats.Stats(pr,stream=sys.stdout).sort_stats("cumtime").print_stats(45)
    c=os.times(); print("USER",c.user-c0.user,"SYS",c.system-c0.system,"WALL",time.time()-t0)
